"""What people say in the generated helpline calls: phrase templates, topics and name pools in English and Swahili.

A template holds alternatives, ``[good morning|hello]``, and slots, ``{PERSON}``. A slot in capitals is an entity
(``REF``, a case number, is the exception: it is there to look like one); ``{gist}`` and ``{do}`` are the problem and
its remedy, taken from a topic. Keys read ``<item>.<who and how>``: ``yes`` fulfils the item, ``not`` is an agent who
does not (refuses, dismisses, reports somebody else, means something different), ``caller`` is the caller saying it.
"""

from typing import Final

Table = dict[str, tuple[str, ...]]

ENGLISH: Final[Table] = {
    "greets_caller.yes": (
        "[Good morning|Good afternoon|Good evening|Hello|Hi there][, welcome| to you|].",
        "Welcome to {ORGANISATION}, [good morning|good evening|hello].",
        "Before anything else, [hello|good day|good morning] to you.",
        "Let me not forget to say [hello|good morning|good evening].",
    ),
    "greets_caller.not": (
        "[Yes, what is it|Line four, speak|Helpline, go ahead|Next caller|What do you need|Talk to me].",
        "[Skip|Leave|Forget] the [good morning|hello|good evening], [what do you want|go straight to it].",
        "There's no time for [hello|good morning|good afternoon][ today|], speak.",
        "[The night team|My colleague] said [hello|good evening|good morning] to you already.",
    ),
    "greets_caller.caller": ("[Good morning|Hello|Good afternoon|Good evening|Hi there][ to you|].",),
    "gives_own_name.yes": (
        "[My name is|I'm called|You are speaking with|You have reached|This is] {PERSON}.",
        "{PERSON} [here|speaking|on the line].",
        "I'm {PERSON}, [here to help|at your service].",
        "Not a machine: I'm {PERSON}.",
    ),
    "gives_own_name.not": (
        "[My name doesn't matter|You don't need my name|I don't give my name|I would rather not say my name].",
        "[My colleague|My supervisor|The manager here] is {PERSON}.",
        "{PERSON} [usually takes this line|is away today|spoke before me].",
        "You are speaking with [an agent|the night desk|the helpline].",
        "I'm not {PERSON}[, you have the wrong desk|].",
    ),
    "gives_own_name.caller": (
        "[My name is|I'm called|You are speaking with|This is|I'm] {PERSON}.",
        "{PERSON} [here|speaking|on the line].",
    ),
    "asks_caller_name.yes": (
        "[May|Could|Can] I [have|know|get|take] your name[, please|]?",
        "[Who am I speaking with|Who is calling|Whom am I talking to]?",
        "[What is|Please tell me|Kindly give me] your name[ first|].",
        "Before you go on, what [should|may] I call you?",
        "I didn't get your name, [what is it|please repeat it]?",
    ),
    "asks_caller_name.not": (
        "[I won't ask|I don't need|No need for|Never mind] your name.",
        "What is the name of [your supervisor|the shop|the street|your village]?",
        "[Don't tell me your name, it isn't needed|Keep your name to yourself].",
        "My [boss|colleague] will ask who is calling[ later|].",
        "I know who is calling[ already|].",
    ),
    "asks_caller_name.caller": (
        "[May|Could|Can] I [have|know|get] your name[, please|]?",
        "[Who am I speaking with|Whom am I talking to]?",
        "[What is|Please tell me] your name[ first|].",
        "I didn't get your name, [what is it|please repeat it]?",
    ),
    "acknowledges_feeling.yes": (
        "I'm [so |very |truly |]sorry [you are going through this|to hear that|for the trouble].",
        "I [understand|can hear|can imagine] how [upsetting|worrying|hard|frustrating] this is[ for you|].",
        "That must [be|feel] [painful|stressful|very hard|worrying][ for you|].",
        "Anyone would be [upset|worried|angry], I hear you.",
        "You are not [alone|wrong] to feel [upset|worried|angry] about it.",
    ),
    "acknowledges_feeling.not": (
        "[Sorry, sorry|I understand, I understand], [everybody says that|just hurry up|be quick].",
        "Oh how [sad|hard|painful] for you, [we all have problems|go and cry elsewhere].",
        "[I don't understand|I can't see] why you are [upset|worried|angry].",
        "It isn't [worrying|upsetting|hard] at all, [calm down|you exaggerate].",
        "Sorry, [the system is slow|my screen froze|I was eating].",
        "This is hard for us too, stop complaining.",
    ),
    "acknowledges_feeling.caller": (
        "I [understand|can imagine] how [upsetting|hard|frustrating] this is[ for you|].",
        "That must be [stressful|very hard] for you.",
        "I'm [so |very |truly |]sorry [to trouble you|for the trouble].",
    ),
    "lets_caller_finish.yes": (
        "[Please go on|Take your time|Finish your story], I'm listening.",
        "I won't [interrupt|stop] you, [please go on|continue].",
    ),
    "lets_caller_finish.not": (
        "[Let me stop you there|Stop, stop|Wait, wait|Cut it short][, I have heard enough|, no long stories|].",
        "I have let you [talk|go on] enough, [stop|quiet now].",
    ),
    "lets_caller_finish.cut": (
        "Which [district|account|number|office] is it?",
        "[Next point|Your number|Your district], please.",
    ),
    "lets_caller_finish.caller": ("[Let me stop you there|Stop, stop|Wait, wait][, I was not done|].",),
    "paraphrases_problem.yes": (
        "[So|If I follow you,|Let me check:|In other words,] {gist}[, correct|, yes|]?",
        "[What I hear is that|You are telling me that] {gist}.",
    ),
    "paraphrases_problem.not": (
        "I [don't need to|won't] repeat what you said.",
        "Say it again, I [didn't follow you|was not listening].",
        "[In other words|So], the usual [noise|story], is that right?",
    ),
    "paraphrases_problem.caller": (
        "So you are telling me that [it is my fault|I must wait|nobody is there]?",
        "Let me check: [you close at five|I must wait], is that right?",
    ),
    "asks_open_question.yes": (
        "[Can|Could] you tell me [more about it|what happened|how it began]?",
        "How did [it|all this] [start|begin|happen]?",
        "What [happened|did you notice|did you try] [then|next|after that]?",
        "[Please describe|Walk me through|Tell me] [what you saw|everything from the start|what happened].",
        "I didn't catch everything, what happened?",
    ),
    "asks_open_question.not": (
        "[Yes or no|One word only], [is it working|are you at home|did you pay|is it today]?",
        "[Don't|No need to] tell me [what happened|how it began|more about it].",
        "My [supervisor|colleague] will ask how it [began|started].",
        "I know [what happened|how it started][, everyone says the same|].",
        "[Did it happen today|Have you paid|Are you at home now]?",
    ),
    "asks_open_question.caller": (
        "[How did this happen|What happens next|What did you do with my file|How did it start]?",
        "[Can|Could] you tell me [what happened|more about it]?",
    ),
    "offers_extra_help.yes": (
        "Is there anything else [I can do|you need|I can help with]?",
        "What else can I [help with|do]?",
        "I can also [send you the steps by SMS|explain your rights|give you the office hours].",
        "While you are here, [let me update your contacts|shall I explain the next bill|shall I send you a guide]?",
        "Don't go yet, [shall I check your other account|let me send you a guide too].",
    ),
    "offers_extra_help.not": (
        "There isn'thing else I can [do for you|help with].",
        "[If there is anything else|For anything else], [call somebody else|that'sn't my job|don't ask me].",
        "We don't [send the steps by SMS|explain the bills|give guides].",
        "Anything else must wait[, I'm closing|].",
    ),
    "offers_extra_help.caller": (
        "Is there anything else [I can do|you need|I can help with]?",
        "I can also [send you the photos by SMS|explain my bills|give you the papers].",
        "What else can I [help with|do]?",
    ),
    "gives_correct_next_step.yes": (
        "[I'll|We'll|I'm going to|Let me] {do}[ now| today| right away|].",
        "The next step is to {do}.",
        "What helps here is to {do}.",
        "I can't do it alone, the team will {do}.",
    ),
    "gives_correct_next_step.not": (
        "We [can't|don't|won't] {do}.",
        "There is [nothing to do|no help for that].",
        "[Try|Call] again [next week|another day].",
    ),
    "gives_correct_next_step.caller": ("[Could|Can] you not {do}?", "[I wish somebody would|Someone should] {do}."),
    "gives_correct_next_step.denied": ("[No|Not possible|Impossible|That isn't done here].",),
    "confirms_agreement.yes": (
        "[Are you|Would you be] [comfortable|happy|fine] with [that|this plan]?",
        "Do you agree[ with that| to this|]?",
        "[Does|Would] that [work for|suit] you?",
        "[Shall we go ahead|Is that acceptable to you|Is it all right if I go ahead]?",
        "I won't start unless you agree, [do you|is it a yes]?",
    ),
    "confirms_agreement.not": (
        "[You have no choice|I'm not asking you|You need not agree|It is decided].",
        "[My supervisor|The office] is [happy|comfortable|fine] with [that|this plan].",
        "Whether you agree or not, [it goes ahead|that's the plan].",
        "I don't care if [that works for you|you are comfortable|you agree].",
    ),
    "confirms_agreement.caller": ("[Do you agree|Does that work for you|Are you fine with that|Would that suit you]?",),
    "asks_before_hold.yes": (
        "[May|Can|Could] I [put|place] you on hold[ a minute| while I check|, please]?",
        "Would you [mind waiting|be willing to hold] [a minute|while I check]?",
        "[Is it okay|Is it all right] if [you hold a little|I put you on hold]?",
    ),
    "asks_before_hold.not": (
        "I'm putting you on hold[, don't hang up|, no questions].",
        "I don't ask before I [put you on hold|make you wait].",
    ),
    "asks_before_hold.late": (
        "I put you on hold [just now|for a minute], [was that okay|was it all right with you]?",
        "[Was it okay|Was it all right] that I put you on hold?",
    ),
    "asks_before_hold.caller": (
        "[May|Can|Could] I [put|place] you on hold[ a minute| while I check|, please]?",
        "Would you [mind waiting|be willing to hold] [a minute|while I check]?",
        "[Is it okay|Is it all right] if [I hold a little|I put you on hold]?",
    ),
    "thanks_after_hold.yes": (
        "Thank you for [waiting|holding|your patience].",
        "Thanks, you were [kind|patient] to [wait|hold].",
        "I [appreciate|am grateful for] your patience.",
        "Sorry I kept you, thank you for [holding|waiting].",
    ),
    "thanks_after_hold.not": (
        "[I'm back|Right|Okay, still there].",
        "[You waited|It was only two minutes], [don't complain|what is the problem].",
        "Thank you for the [number|name|details].",
        "No thanks for [waiting|holding], [it is your duty|everybody waits].",
    ),
    "thanks_after_hold.caller": (
        "Thank you for [waiting|holding|your patience].",
        "I [appreciate|am grateful for] your patience.",
    ),
    "hold.begins": ("[Hold on|Wait there|Stay on the line|Just hold].",),
    "hold.marker": ("(on hold)", "(music)", "(two minutes pass)"),
    "hold.none": (
        "I won't put you on hold[, I see it here|].",
        "Your [payment|order|case] is on hold[ at the bank|].",
        "No need to hold[, it is quick|].",
    ),
    "summarises_call.yes": (
        "[To recap|In short|To sum up], [the step and the day are clear|we agreed on a step].",
        "Let me [go over|repeat] what we agreed: [a step and a day|the phone stays on].",
        "[To recap|In short|To sum up], you called because {gist}.",
        "I won't skip the recap: [a step and a day|the phone stays on].",
    ),
    "summarises_call.not": (
        "[No need to|I won't] [recap|go over it again|sum up|repeat what we agreed].",
        "You [heard|know] it all, [don't make me repeat|work it out].",
        "My supervisor will [sum up|recap] [later|another day].",
    ),
    "summarises_call.caller": (
        "[To recap|In short|To sum up], [the step and the day are clear|we agreed on a step].",
        "Let me [go over|repeat] what we agreed: [a step and a day|the phone stays on].",
    ),
    "says_goodbye_politely.yes": (
        "Thank you for [calling|your time][, goodbye|, have a good day|, stay well].",
        "[Have a|I wish you a] [good|lovely|peaceful] [day|evening|weekend][, goodbye|].",
        "[Goodbye|Bye|Take care][, it was good to talk| and stay safe|], and thank you.",
        "Don't hesitate to call again, [goodbye|have a good day].",
    ),
    "says_goodbye_politely.not": (
        "[That's all|We are done|Next|I'm hanging up now|You can go].",
        "I won't [thank you|say goodbye].",
        "I have no time for [a goodbye|thank you and goodbye][, next caller|].",
        "[Stop calling this line|Goodbye to your money, that's all].",
    ),
    "says_goodbye_politely.caller": (
        "Thank you for your time[, goodbye|, have a good day|, stay well].",
        "[Have a|I wish you a] [good|lovely|peaceful] [day|evening|weekend][, goodbye|].",
        "[Goodbye|Bye|Take care][, it was good to talk| and stay safe|], and thank you.",
    ),
    "gives_reference.yes": (
        "Your reference [number |]is {REF}.",
        "[Write down|Note] {REF}, [it is your case number|that's your reference].",
        "I'll call you [back|again] on {DATE}.",
        "Expect [my|our] call on {DATE}.",
        "We don't close the case, the number is {REF}.",
    ),
    "gives_reference.not": (
        "We don't [give reference numbers|call back|give case numbers].",
        "There's no [reference|callback|case number] for [this|such things].",
        "Your old reference {REF} is [closed|no longer valid].",
        "Don't expect [my|our] call[ on {DATE}|].",
    ),
    "gives_reference.caller": (
        "My [old |]reference [number |]is {REF}.",
        "I'll call you [back|again] on {DATE}.",
        "[Another office|Your colleague] gave me {REF}, that's my case number.",
    ),
    "sentiment.positive": (
        "[Thank you|Thanks] so much, I feel [better|relieved|at peace] now.",
        "I was [angry|worried|upset] but now I'm [calm|glad|relieved].",
        "I have no complaint any more, [well done|you were kind].",
        "[That is wonderful news|You have made my day|This isn't bad at all, I'm glad].",
        "I'm no longer [angry|worried|upset].",
    ),
    "sentiment.neutral": (
        "[Okay|All right|Fine], [I'll wait|noted|let us see].",
        "[I have written it down|I have heard you], [nothing more|that's all].",
        "I'm neither [happy nor angry|glad nor upset], [let us see|I'll wait].",
        "[It is what it is|We shall see how it goes].",
    ),
    "sentiment.negative": (
        "I'm still [angry|worried|upset], [nothing has changed|I'm tired of this].",
        "This [didn't help|is useless|has made it worse].",
        "I was [calm|glad|hopeful] when I called and now I'm [angry|hurt|upset].",
        "[I can't say I'm happy|I'm not satisfied|I'm not relieved at all].",
        "You call that help? [Wonderful|Thank you for nothing|Well done].",
        "I feel no [better|calmer] than before.",
    ),
    "feeling.positive": (
        "I'm [happy|glad|calm|at peace].",
        "I'm not [angry|worried|upset] at all.",
        "You [are|have been] very kind to me.",
    ),
    "feeling.neutral": (
        "I'll wait and see.",
        "I'm neither [happy nor angry|glad nor upset].",
        "I [only|just] want it [noted|on record].",
    ),
    "feeling.negative": (
        "I'm [so |very |][angry|worried|upset|hurt].",
        "I'm not [happy|glad|calm] at all.",
        "Your service is [useless|terrible], I'm tired of this.",
    ),
    "caller.where": (
        "I [live in|am calling from|stay near] {LOCATION}.",
        "My number is {PHONE}.",
        "You can reach me on {PHONE}.",
        "I'm a customer of {ORGANISATION}[ in {LOCATION}|].",
        "[My neighbour|My friend] {PERSON} told me to call.",
        "It has been like this since {DATE}.",
    ),
    "caller.chat": (
        "[I lost all hope|There was no peace in the house|It may rain again|We need grace and patience].",
        "[We had to march to the office|The bank was closed|The courier only laughed|The sunrise found me awake].",
        "[I already paid 250 shillings|The form had 14 pages|I stood in line number 3].",
    ),
    "caller.pauses": ("[sorry, I lost the word|let me breathe|where was I|give me a moment].",),
    "caller.yes": ("[Yes|Okay|All right|Sure|No problem].",),
    "caller.hangs_up": ("(hangs up)",),
    "line.drops": ("(the line drops)", "(call cut off)"),
    "filler": ("Um...", "Uh...", "You know...", "Eh..."),
}

SWAHILI: Final[Table] = {
    "greets_caller.yes": (
        "[Habari ya asubuhi|Habari za mchana|Habari ya jioni|Hujambo|Habari yako][, karibu kwetu|, karibu|].",
        "Karibu {ORGANISATION}, [habari yako|habari ya asubuhi|hujambo].",
        "Kabla ya yote, [hujambo|nakusalimu|habari yako].",
        "Nisisahau kukusalimu, [habari yako|hujambo|habari za mchana].",
    ),
    "greets_caller.not": (
        "[Ndiyo, nini tena|Sema shida yako|Haya, ongea|Mteja anayefuata|Unataka nini|Huduma kwa wateja, sema].",
        "[Acha|Achana na] [habari ya asubuhi|salamu|habari za mchana], [unataka nini|sema moja kwa moja].",
        "[Hakuna|Sina] muda wa [salamu|hujambo|habari ya asubuhi][ leo|], sema.",
        "Mwenzangu alishakuambia [hujambo|habari yako|habari ya asubuhi].",
    ),
    "greets_caller.caller": ("[Habari ya asubuhi|Hujambo|Habari yako|Habari za mchana|Habari ya jioni].",),
    "gives_own_name.yes": (
        "[Jina langu ni|Mimi naitwa|Naitwa|Unaongea na|Mimi ni] {PERSON}.",
        "Hapa ni {PERSON}.",
        "Ni {PERSON} anayekuhudumia[ leo|].",
        "Si mashine, mimi ni {PERSON}.",
    ),
    "gives_own_name.not": (
        "[Jina langu si muhimu|Huhitaji jina langu|Sitoi jina langu|Sitaki kutaja jina langu].",
        "[Mwenzangu|Msimamizi wangu|Meneja wetu] [ni|anaitwa] {PERSON}.",
        "{PERSON} [ndiye hukaa kwenye laini hii|hayupo leo|aliongea nawe kabla yangu].",
        "Unaongea na [mhudumu|ofisi ya usiku|huduma kwa wateja].",
        "Mimi si {PERSON}[, umekosea dawati|].",
    ),
    "gives_own_name.caller": (
        "[Jina langu ni|Mimi naitwa|Naitwa|Unaongea na|Mimi ni] {PERSON}.",
        "Hapa ni {PERSON}.",
    ),
    "asks_caller_name.yes": (
        "[Naomba|Ningependa kujua|Tafadhali nipe] jina lako[ kwanza|].",
        "[Jina lako ni nani|Unaitwa nani|Naongea na nani|Nani anaongea]?",
        "Kabla hujaendelea, [nikuite nani|unaitwa nani]?",
        "Sikupata jina lako, [unaitwa nani|rudia tafadhali]?",
    ),
    "asks_caller_name.not": (
        "[Sitakuuliza|Sihitaji|Hakuna haja ya] jina lako.",
        "[Msimamizi wako|Jirani yako|Mwenye duka] anaitwa nani?",
        "[Usiniambie jina lako, halihitajiki|Baki na jina lako].",
        "[Mwenzangu|Mkubwa wangu] atakuuliza unaitwa nani[ baadaye|].",
        "Najua[ tayari|] unaitwa nani.",
    ),
    "asks_caller_name.caller": (
        "[Naomba|Ningependa kujua|Tafadhali nipe] jina lako[ kwanza|].",
        "[Jina lako ni nani|Unaitwa nani|Naongea na nani]?",
        "Sikupata jina lako, [unaitwa nani|rudia tafadhali]?",
    ),
    "acknowledges_feeling.yes": (
        "[Pole|Pole sana] [kwa hilo|kwa shida hiyo|kwa yaliyokupata].",
        "[Naelewa|Nasikia|Naweza kufikiria] jinsi [inavyoumiza|inavyosumbua|ilivyo vigumu][ kwako|].",
        "Hilo [linaumiza|linatia wasiwasi|ni gumu] [kwa kweli|sana], [una haki ya kukasirika|niko nawe].",
        "Mtu yeyote [angekasirika|angehangaika|angeumia], [niko nawe|una haki].",
        "Hauko peke yako, [naelewa uchungu wako|pole sana].",
        "Hukosei kuhisi [hasira|wasiwasi|uchungu].",
    ),
    "acknowledges_feeling.not": (
        "[Pole, pole|Naelewa, naelewa], [kila mtu husema hivyo|harakisha|maliza haraka].",
        "[Pole yako|Masikini wewe], [sote tuna shida|kalilie kwingine|si kazi yangu].",
        "[Sielewi|Sioni] kwa nini [unakasirika|una wasiwasi|unaumia].",
        "Hilo [haliumizi|si gumu|halitii wasiwasi] hata kidogo, [acha kulalamika|unazidisha mambo].",
        "Pole, [mtandao uko chini|nilikuwa nakula|kompyuta imekwama].",
        "Hata kwetu ni vigumu, acha kulalamika.",
    ),
    "acknowledges_feeling.caller": (
        "[Naelewa|Naweza kufikiria] jinsi [inavyosumbua|ilivyo vigumu][ kwako|].",
        "[Pole|Pole sana] [kwa kukusumbua|kwa shida hiyo|na kazi].",
    ),
    "lets_caller_finish.yes": (
        "[Tafadhali endelea|Chukua muda wako|Maliza tu], [nakusikiliza|nipo nawe].",
        "Sitakukatiza, [endelea|sema yote].",
    ),
    "lets_caller_finish.not": (
        "[Ngoja kwanza|Basi, basi|Inatosha|Fupisha][, nimesikia vya kutosha|, sina muda wa hadithi|].",
        "Nimekuacha uongee vya kutosha, [basi|nyamaza].",
    ),
    "lets_caller_finish.cut": (
        "Ni [wilaya|akaunti|namba|ofisi] gani?",
        "[Namba yako|Wilaya yako|Jambo linalofuata], tafadhali.",
    ),
    "lets_caller_finish.caller": ("[Ngoja kwanza|Basi, basi|Inatosha][, sijamaliza|].",),
    "paraphrases_problem.yes": (
        "[Kwa hiyo|Kama nimekuelewa,|Yaani|Kwa maneno mengine,] {gist}[, sivyo|, ni kweli|, si ndiyo|]?",
        "[Ninachosikia ni kwamba|Unaniambia kwamba] {gist}.",
    ),
    "paraphrases_problem.not": (
        "[Sitarudia|Hakuna haja ya kurudia] [ulichosema|maneno yako].",
        "Rudia, [sikukuelewa|sikuwa nasikiliza].",
        "[Kwa maneno mengine|Yaani], [kelele|hadithi] za kila siku, sivyo?",
    ),
    "paraphrases_problem.caller": (
        "Kwa hiyo unaniambia kwamba [ni kosa langu|lazima nisubiri|hakuna mtu]?",
        "Yaani [mnafunga saa kumi|lazima nisubiri tu], sivyo?",
    ),
    "asks_open_question.yes": (
        "Unaweza kunieleza [zaidi|kilichotokea|jinsi ilivyoanza]?",
        "[Ilianzaje|Ilitokeaje|Ilikuwaje][ tangu mwanzo| hasa|]?",
        "[Ulifanya nini|Uliona nini|Nini kilitokea] [baadaye|baada ya hapo]?",
        "[Nieleze|Niambie|Nisimulie] [ulichoona|yote tangu mwanzo|kilichotokea].",
        "Sikusikia yote, nini kilitokea?",
    ),
    "asks_open_question.not": (
        "[Ndiyo au hapana|Jibu kwa neno moja], [inafanya kazi|uko nyumbani|umelipa|ni leo]?",
        "[Usinieleze|Hakuna haja ya kunieleza] [zaidi|kilichotokea|jinsi ilivyoanza].",
        "[Msimamizi|Mwenzangu] atakuuliza [ilianzaje|ilikuwaje].",
        "Najua [kilichotokea|jinsi ilivyoanza][, kila mtu husema hivyo|].",
        "[Imetokea leo|Umelipa|Uko nyumbani sasa]?",
    ),
    "asks_open_question.caller": (
        "[Ilitokeaje|Ilikuwaje|Nini kitafuata|Mlifanya nini na faili langu]?",
        "Unaweza kunieleza [zaidi|kilichotokea]?",
    ),
    "offers_extra_help.yes": (
        "Kuna jambo lingine [unalohitaji|ungependa kuuliza|la kushughulikia]?",
        "Nikusaidie nini [kingine|zaidi]?",
        "Pia naweza [kukutumia maelekezo kwa SMS|kukueleza haki zako|kukupa saa za ofisi].",
        "Ukiwa hapa, [nikubadilishie anwani|nikueleze bili ijayo|nikutumie mwongozo]?",
        "Usikate bado, [niangalie akaunti nyingine|nikutumie mwongozo pia].",
    ),
    "offers_extra_help.not": (
        "Hakuna jambo lingine [nitakalokusaidia|ninaloweza kufanya].",
        "[Kama kuna jambo lingine|Kwa jambo lingine], [piga kwingine|si kazi yangu|usiniulize].",
        "[Hatutumi maelekezo kwa SMS|Hatuelezi bili|Hatutoi mwongozo].",
        "Jambo lingine lisubiri[, nafunga|].",
    ),
    "offers_extra_help.caller": (
        "Kuna jambo lingine [unalohitaji|ungependa kuuliza]?",
        "Pia naweza [kukutumia picha kwa SMS|kukueleza bili zangu|kukupa fomu].",
        "Nikusaidie nini [kingine|zaidi]?",
    ),
    "gives_correct_next_step.yes": (
        "[Nitaanza|Tutaanza|Naenda|Tunaenda] {do}[ sasa| leo| mara moja|].",
        "Hatua inayofuata ni {do}.",
        "Kitakachosaidia ni {do}[, naanza sasa|].",
        "Siwezi peke yangu, timu itasaidia {do}.",
    ),
    "gives_correct_next_step.not": (
        "[Hatuwezi|Hatutaweza|Siwezi] {do}.",
        "Hakuna [la kufanya|msaada kwa hilo].",
        "[Jaribu|Piga] tena [wiki ijayo|siku nyingine].",
    ),
    "gives_correct_next_step.caller": ("[Je, hamwezi|Kwani huwezi] {do}?", "Natamani mtu angeweza {do}."),
    "gives_correct_next_step.denied": ("[Hapana|Haiwezekani|Hilo halifanyiki hapa].",),
    "confirms_agreement.yes": (
        "[Je, unakubali|Unakubaliana na hilo|Je, mpango huu unakufaa|Uko sawa na hilo|Hiyo ni sawa kwako]?",
        "[Tuendelee|Niendelee], [unakubali|ni sawa kwako]?",
        "Sitaanza [bila ruhusa yako|usipokubali], [unakubali|ni ndiyo]?",
    ),
    "confirms_agreement.not": (
        "[Huna chaguo|Sikuulizi|Si lazima ukubali|Imeshaamuliwa].",
        "[Msimamizi|Meneja] [anakubaliana na|yuko sawa na] [hilo|mpango huu].",
        "[Ukubali usikubali|Upende usipende], [tunaendelea|ndio mpango].",
        "Sijali kama [unakubali|mpango huu unakufaa|uko sawa].",
    ),
    "confirms_agreement.caller": ("[Je, unakubali|Unakubaliana na hilo|Uko sawa na hilo|Hiyo ni sawa kwako]?",),
    "asks_before_hold.yes": (
        "[Naomba usubiri|Je, unaweza kusubiri] [dakika moja|kidogo] kwenye laini[, tafadhali|], [sawa|ni sawa]?",
        "Naomba ruhusa [nikuweke kwenye laini|usubiri kidogo], [sawa|unakubali]?",
        "Ni sawa [ukisubiri kidogo|nikikuacha usubiri|nikikuweka kwenye laini]?",
    ),
    "asks_before_hold.not": (
        "Nakuweka kwenye laini[, usikate|, bila maswali].",
        "[Siombi|Sihitaji] ruhusa ya [kukuweka kwenye laini|kukusubirisha].",
    ),
    "asks_before_hold.late": (
        "[Nilikuacha usubiri|Nilikuweka kwenye laini], [ilikuwa sawa|natumaini ni sawa]?",
        "Ilikuwa sawa [nilivyokuacha usubiri|nilivyokuweka kwenye laini]?",
    ),
    "asks_before_hold.caller": (
        "[Naomba usubiri|Je, unaweza kusubiri] [dakika moja|kidogo] kwenye laini[, tafadhali|], [sawa|ni sawa]?",
        "Ni sawa [ukisubiri kidogo|nikisubiri kidogo|nikikuweka kwenye laini]?",
    ),
    "thanks_after_hold.yes": (
        "Asante kwa [kusubiri|subira yako|uvumilivu wako].",
        "Nashukuru kwa [subira yako|kunisubiri|uvumilivu wako].",
        "Asante, umekuwa mvumilivu.",
        "Samahani kwa kukuchelewesha, asante kwa [kusubiri|subira yako].",
    ),
    "thanks_after_hold.not": (
        "[Nimerudi|Haya|Bado upo].",
        "[Ulisubiri kidogo|Ni dakika mbili tu], [usilalamike|shida iko wapi].",
        "Asante kwa [namba|jina|maelezo].",
        "Hakuna asante ya [kusubiri|subira], [ni wajibu wako|kila mtu husubiri].",
    ),
    "thanks_after_hold.caller": (
        "Asante kwa [kusubiri|subira yako|uvumilivu wako].",
        "Nashukuru kwa [subira yako|uvumilivu wako].",
    ),
    "hold.begins": ("[Subiri hapo|Ngoja|Baki kwenye laini|Subiri tu].",),
    "hold.marker": ("(anasubiri)", "(muziki)", "(dakika mbili zinapita)"),
    "hold.none": (
        "Sitakuweka kwenye laini[, naona hapa|].",
        "[Malipo|Maombi] yako yanasubiri [benki|ofisini].",
        "Hakuna haja ya kusubiri[, ni haraka|].",
    ),
    "summarises_call.yes": (
        "[Kwa muhtasari|Kwa kifupi|Kwa ufupi], [hatua na siku ziko wazi|tumekubaliana kuhusu hatua].",
        "Nirudie tuliyokubaliana: [hatua na siku|simu ibaki imewashwa].",
        "[Kwa muhtasari|Kwa kifupi|Kwa ufupi], ulipiga simu kwa sababu {gist}.",
        "Kabla hujaenda, sitaacha muhtasari: [hatua na siku|simu ibaki imewashwa].",
    ),
    "summarises_call.not": (
        "[Hakuna haja ya|Sitatoa|Sina] muhtasari.",
        "[Umeshasikia|Unajua] yote, [usinirudishe nyuma|jitegemee].",
        "Msimamizi atakupa muhtasari [baadaye|siku nyingine].",
        "Sitarudia tuliyokubaliana.",
    ),
    "summarises_call.caller": (
        "[Kwa muhtasari|Kwa kifupi|Kwa ufupi], [hatua na siku ziko wazi|tumekubaliana kuhusu hatua].",
        "Nirudie tuliyokubaliana: [hatua na siku|simu ibaki imewashwa].",
    ),
    "says_goodbye_politely.yes": (
        "Asante kwa [kupiga simu|muda wako][, kwaheri|, siku njema|, ubaki salama].",
        "[Nakutakia|Uwe na] [siku njema|jioni njema|wiki njema][, kwaheri|].",
        "[Kwaheri|Kila la heri][, nimefurahi kuongea nawe| na ubaki salama|], na asante.",
        "Usisite kupiga tena, [kwaheri|siku njema].",
    ),
    "says_goodbye_politely.not": (
        "[Ni hayo tu|Tumemaliza|Anayefuata|Nakata simu sasa|Unaweza kwenda].",
        "[Sitakuaga|Sitakushukuru|Sitasema kwaheri].",
        "Sina muda wa [kwaheri|asante na kwaheri][, anayefuata|].",
        "[Acha kupiga laini hii|Kwaheri pesa zako, ni hayo tu].",
    ),
    "says_goodbye_politely.caller": (
        "Asante kwa muda wako[, kwaheri|, siku njema|, ubaki salama].",
        "[Nakutakia|Uwe na] [siku njema|jioni njema|wiki njema][, kwaheri|].",
        "[Kwaheri|Kila la heri][, nimefurahi kuongea nawe| na ubaki salama|], na asante.",
    ),
    "gives_reference.yes": (
        "Namba ya [kumbukumbu|kesi yako] ni {REF}.",
        "[Andika|Kumbuka] {REF}, ndiyo [namba ya kesi|kumbukumbu] yako.",
        "Nitakupigia [tena|simu] {DATE}.",
        "Tarajia simu [yangu|yetu] {DATE}.",
        "Hatufungi kesi, namba yake ni {REF}.",
    ),
    "gives_reference.not": (
        "[Hatutoi|Hakuna] namba ya [kumbukumbu|kesi].",
        "Hatutakupigia [tena|simu].",
        "Namba yako ya zamani {REF} [imefungwa|haitumiki tena].",
        "Usitarajie simu [yangu|yetu][ {DATE}|].",
    ),
    "gives_reference.caller": (
        "Namba yangu ya [kumbukumbu|kesi] ni {REF}.",
        "Nitakupigia [tena|simu] {DATE}.",
        "[Ofisi nyingine|Mwenzako] alinipa {REF}, ndiyo namba ya kesi yangu.",
    ),
    "sentiment.positive": (
        "Asante sana, [nimefarijika|najisikia vizuri|nina amani] sasa.",
        "Nilikuwa na [hasira|wasiwasi|huzuni] lakini sasa [nimetulia|nimefurahi|nimefarijika].",
        "Sina malalamiko tena, [hongera|umenisaidia sana].",
        "[Nimefurahi sana|Umenifurahisha leo|Si mbaya hata kidogo, nimefurahi].",
        "Sina [hasira|wasiwasi|huzuni] tena.",
    ),
    "sentiment.neutral": (
        "[Sawa|Haya|Basi], [nitasubiri|nimesikia|tutaona].",
        "[Nimeandika|Nimekusikia], [ni hayo tu|sina zaidi].",
        "Sina furaha wala [hasira|huzuni], [tutaona|nitasubiri].",
        "[Ndivyo ilivyo|Tutaona itakavyokuwa].",
    ),
    "sentiment.negative": (
        "Bado nina [hasira|wasiwasi|huzuni], [nimechoka na haya|hakuna kilichobadilika].",
        "Hii [haijanisaidia|ni bure kabisa|imeharibu zaidi].",
        "Nilikuwa [nimetulia|nimefurahi|na matumaini] nilipopiga, sasa [nina hasira|nimekasirika|nimeumia].",
        "[Siwezi kusema nimefurahi|Sijaridhika|Sijafarijika hata kidogo].",
        "Huo ndio msaada? [Hongera|Asante ya punda|Vizuri sana].",
        "Sijisikii vizuri [hata sasa|hata kidogo].",
    ),
    "feeling.positive": (
        "[Nina furaha|Nimefurahi|Nimetulia|Nina amani].",
        "Sina [hasira|wasiwasi|huzuni] hata kidogo.",
        "[Mna|Mmekuwa na] huruma sana kwangu.",
    ),
    "feeling.neutral": (
        "Nitasubiri tuone.",
        "Sina furaha wala [hasira|huzuni].",
        "Nataka tu [iandikwe|ijulikane].",
    ),
    "feeling.negative": (
        "Nina [hasira|wasiwasi|huzuni] [sana|mno].",
        "[Sijafurahi|Sina furaha|Sina amani] hata kidogo.",
        "Huduma yenu ni [mbaya|bure kabisa], nimechoka na haya.",
    ),
    "caller.where": (
        "[Naishi|Napiga kutoka|Niko] {LOCATION}.",
        "Namba yangu ni {PHONE}.",
        "Unaweza kunipata kwa {PHONE}.",
        "Mimi ni mteja wa {ORGANISATION}[ huko {LOCATION}|].",
        "[Jirani yangu|Rafiki yangu] {PERSON} aliniambia nipige.",
        "Imekuwa hivi tangu {DATE}.",
    ),
    "caller.chat": (
        "[Tumepoteza matumaini|Hakuna amani nyumbani|Mvua ni baraka|Tunaomba neema].",
        "[Umoja ni nguvu|Benki ilifungwa|Msafirishaji alicheka tu|Jua lilichomoza nikiwa macho].",
        "[Nimeshalipa shilingi 250|Fomu ilikuwa na kurasa 14|Nilisimama foleni namba 3].",
    ),
    "caller.pauses": ("[samahani, nimesahau neno|ngoja nipumue|nilikuwa wapi|nipe muda kidogo].",),
    "caller.yes": ("[Ndiyo|Sawa|Haya|Hakuna shida].",),
    "caller.hangs_up": ("(anakata simu)",),
    "line.drops": ("(laini inakatika)", "(simu inakatika)"),
    "filler": ("Aa...", "Eeh...", "Unajua...", "Mmh..."),
}

PHRASES: Final[dict[str, Table]] = {"en": ENGLISH, "sw": SWAHILI}

# A topic: how callers tell it, how far they get when cut short, a detail, what it comes to, and its remedy.
TOPICS: Final[dict[str, dict[str, Table]]] = {
    "transfer": {
        "en": {
            "problem": (
                "I sent [the rent|4500 shillings|the fees] to a wrong number, {PHONE}, on {DATE}.",
                "On {DATE} I sent money to {PHONE} instead of {PERSON}.",
                "Money left my {ORGANISATION} account for a number I do not know.",
            ),
            "half": ("I was sending the rent and then",),
            "detail": ("I mixed up two digits.", "That person has switched off the phone."),
            "gist": ("your money went to the wrong number", "the transfer reached a stranger"),
            "do": ("reverse the transfer", "get the money back from that number"),
        },
        "sw": {
            "problem": (
                "Nimetuma [kodi ya nyumba|shilingi 4500|karo] kwa namba isiyo sahihi, {PHONE}, {DATE}.",
                "{DATE} nilimtumia {PERSON} pesa lakini zikaenda kwa {PHONE}.",
                "Pesa zimetoka kwenye akaunti yangu ya {ORGANISATION} kwenda namba nisiyoijua.",
            ),
            "half": ("Nilikuwa natuma kodi halafu",),
            "detail": ("Nilikosea tarakimu mbili.", "Mtu huyo amezima simu."),
            "gist": ("pesa zako zimeenda kwa namba isiyo sahihi", "muamala wako umefika kwa mtu usiyemjua"),
            "do": ("kurudisha pesa kutoka namba hiyo", "kubatilisha muamala huo"),
        },
    },
    "power": {
        "en": {
            "problem": (
                "There has been no electricity in {LOCATION} since {DATE}.",
                "The transformer in {LOCATION} blew up and [{ORGANISATION} has not come|nobody came].",
            ),
            "half": ("We were cooking when the lights went and",),
            "detail": ("All the neighbours are in the dark.", "The lights went suddenly at night."),
            "gist": ("you have no electricity", "your transformer has blown up"),
            "do": ("send an electrician to the transformer", "get the electricity repaired"),
        },
        "sw": {
            "problem": (
                "Hakuna umeme hapa {LOCATION} tangu {DATE}.",
                "Transfoma ya {LOCATION} imelipuka na [{ORGANISATION} hawajafika|hakuna aliyekuja].",
            ),
            "half": ("Tulikuwa tunapika taa zikazima na",),
            "detail": ("Majirani wote wako gizani.", "Taa zilizima ghafla usiku."),
            "gist": ("huna umeme nyumbani", "transfoma yenu imelipuka"),
            "do": ("kumtuma fundi wa umeme", "kutengeneza transfoma ya umeme"),
        },
    },
    "sim": {
        "en": {
            "problem": (
                "I lost my SIM card, {PHONE}, in {LOCATION}.",
                "My SIM card {PHONE} was stolen on {DATE}.",
            ),
            "half": ("I was on the bus, I looked for my phone and",),
            "detail": ("It fell somewhere on the bus.", "A thief took it at the market."),
            "gist": ("you lost your SIM card", "your SIM card was stolen"),
            "do": ("block the line and replace the SIM card", "issue a new SIM card"),
        },
        "sw": {
            "problem": (
                "Nimepoteza laini yangu ya simu, {PHONE}, hapa {LOCATION}.",
                "Laini yangu ya simu {PHONE} iliibiwa {DATE}.",
            ),
            "half": ("Nilikuwa kwenye basi, nikatafuta simu na",),
            "detail": ("Ilianguka kwenye basi.", "Mwizi aliichukua sokoni."),
            "gist": ("umepoteza laini ya simu", "laini yako ya simu iliibiwa"),
            "do": ("kufunga laini iliyopotea na kutoa nyingine", "kubadilisha laini ya simu"),
        },
    },
    "parcel": {
        "en": {
            "problem": (
                "My parcel from {ORGANISATION} has not reached {LOCATION} since {DATE}.",
                "I sent {PERSON} a parcel to {LOCATION} and it never came.",
            ),
            "half": ("I went to ask about the parcel and",),
            "detail": ("They said it is on the way.", "I have paid for the delivery."),
            "gist": ("your parcel has not arrived", "the parcel is late"),
            "do": ("trace the parcel with the driver", "deliver the parcel again"),
        },
        "sw": {
            "problem": (
                "Mzigo wangu kutoka {ORGANISATION} haujafika {LOCATION} tangu {DATE}.",
                "Nilimtumia {PERSON} mzigo kwenda {LOCATION} lakini haujafika.",
            ),
            "half": ("Nilienda kuuliza mzigo ofisini na",),
            "detail": ("Waliniambia uko njiani.", "Nimelipia usafirishaji tayari."),
            "gist": ("mzigo wako haujafika", "mzigo umechelewa njiani"),
            "do": ("kufuatilia mzigo kwa dereva", "kuleta mzigo upya"),
        },
    },
    "clinic": {
        "en": {
            "problem": (
                "The clinic in {LOCATION} cancelled my appointment of {DATE}.",
                "I had an appointment at {ORGANISATION} on {DATE} but the doctor was away.",
            ),
            "half": ("I reached the clinic early and",),
            "detail": ("I waited from the morning.", "My medicine is almost finished."),
            "gist": ("your clinic appointment was cancelled", "you did not find the doctor"),
            "do": ("book a new appointment with the nurse", "find another clinic day"),
        },
        "sw": {
            "problem": (
                "Zahanati ya {LOCATION} imeahirisha miadi yangu ya {DATE}.",
                "Nilikuwa na miadi {DATE} katika {ORGANISATION} lakini daktari hakuwepo.",
            ),
            "half": ("Nilifika kliniki mapema na",),
            "detail": ("Nilingoja tangu asubuhi.", "Dawa zangu zinakaribia kuisha."),
            "gist": ("miadi yako ya kliniki imeahirishwa", "hukumpata daktari kliniki"),
            "do": ("kupanga miadi mipya na muuguzi", "kupanga siku nyingine ya kliniki"),
        },
    },
    "eviction": {
        "en": {
            "problem": (
                "The landlord, {PERSON}, wants to throw us out of the house in {LOCATION}.",
                "We were given a notice to leave the house before {DATE}.",
            ),
            "half": ("The landlord came at night and",),
            "detail": ("I have paid all the rent.", "He changed the lock of the door."),
            "gist": ("the landlord is throwing you out", "you were told to leave the house"),
            "do": ("pass the eviction to our lawyer", "ask the legal officer to stop the landlord"),
        },
        "sw": {
            "problem": (
                "Mwenye nyumba, {PERSON}, anataka kutufukuza hapa {LOCATION}.",
                "Tumepewa notisi ya kuhama nyumba kabla ya {DATE}.",
            ),
            "half": ("Mwenye nyumba alikuja usiku na",),
            "detail": ("Kodi nimelipa yote.", "Alibadilisha kufuli la mlango."),
            "gist": ("mwenye nyumba anataka kuwafukuza", "mmepewa notisi ya kuhama nyumba"),
            "do": ("kupeleka suala hili kwa wakili", "kumwomba afisa wa sheria amzuie mwenye nyumba"),
        },
    },
    "password": {
        "en": {
            "problem": (
                "The {ORGANISATION} app has locked me out since {DATE}.",
                "I forgot the password of my {ORGANISATION} account.",
            ),
            "half": ("I tried to log in and",),
            "detail": ("I have tried three times.", "It says the password is wrong."),
            "gist": ("you are locked out of the app", "you forgot your password"),
            "do": ("reset the password", "unlock the app with a new password"),
        },
        "sw": {
            "problem": (
                "Programu ya {ORGANISATION} imenifungia tangu {DATE}.",
                "Nimesahau nywila ya akaunti yangu ya {ORGANISATION}.",
            ),
            "half": ("Nilijaribu kuingia kwenye akaunti na",),
            "detail": ("Nimejaribu mara tatu.", "Inasema nywila si sahihi."),
            "gist": ("huwezi kuingia kwenye programu", "umesahau nywila yako"),
            "do": ("kutuma msimbo wa nywila mpya", "kuweka nywila mpya"),
        },
    },
    "voucher": {
        "en": {
            "problem": (
                "My fertiliser voucher has not come from {ORGANISATION}.",
                "I registered on {DATE} in {LOCATION} but got no fertiliser voucher.",
            ),
            "half": ("I registered for fertiliser and",),
            "detail": ("The rains have started.", "The other farmers have theirs."),
            "gist": ("your fertiliser voucher has not come", "you have no fertiliser voucher"),
            "do": ("issue the fertiliser voucher again", "correct the farmer registration"),
        },
        "sw": {
            "problem": (
                "Vocha yangu ya mbolea haijafika kutoka {ORGANISATION}.",
                "Nilijiandikisha {DATE} huko {LOCATION} lakini sijapata vocha ya mbolea.",
            ),
            "half": ("Nilijiandikisha kwa ajili ya mbolea na",),
            "detail": ("Mvua zimeshaanza.", "Wakulima wenzangu wameshapata."),
            "gist": ("vocha yako ya mbolea haijafika", "hujapata vocha ya mbolea"),
            "do": ("kutoa vocha mpya ya mbolea", "kurekebisha usajili wa mkulima"),
        },
    },
    "water": {
        "en": {
            "problem": (
                "The water bill that came on {DATE} is three times higher.",
                "{ORGANISATION} brought me a huge water bill here in {LOCATION}.",
            ),
            "half": ("I opened the water bill and",),
            "detail": ("Only two people live here.", "The meter turns with the taps closed."),
            "gist": ("your water bill is too high", "you were charged for too much water"),
            "do": ("have the water meter read again", "correct the water bill"),
        },
        "sw": {
            "problem": (
                "Bili ya maji iliyokuja {DATE} ni mara tatu zaidi.",
                "{ORGANISATION} wameniletea bili kubwa ya maji hapa {LOCATION}.",
            ),
            "half": ("Nilifungua bili ya maji na",),
            "detail": ("Tunaishi watu wawili tu.", "Mita inazunguka hata tukifunga bomba."),
            "gist": ("bili yako ya maji ni kubwa mno", "umetozwa maji kupita kiasi"),
            "do": ("kusoma mita ya maji upya", "kurekebisha bili ya maji"),
        },
    },
    "school": {
        "en": {
            "problem": (
                "My daughter {PERSON} is bullied at school in {LOCATION}.",
                "My child has refused to go to school since {DATE}.",
            ),
            "half": ("My child came home crying and",),
            "detail": ("The other pupils laugh at her.", "She does not sleep at night."),
            "gist": ("your child is bullied at school", "your child is afraid of school"),
            "do": ("send a counsellor to the school", "speak with the teacher and the counsellor"),
        },
        "sw": {
            "problem": (
                "Binti yangu {PERSON} ananyanyaswa shuleni huko {LOCATION}.",
                "Mtoto wangu amekataa kwenda shule tangu {DATE}.",
            ),
            "half": ("Mtoto alirudi analia na",),
            "detail": ("Wenzake wanamcheka.", "Halali usiku."),
            "gist": ("mtoto wako ananyanyaswa shuleni", "mtoto wako anaogopa shule"),
            "do": ("kumtuma mshauri nasaha shuleni", "kuongea na mwalimu na mshauri wa shule"),
        },
    },
}
