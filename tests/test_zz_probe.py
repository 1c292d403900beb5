import json, torch, pytest
def test_train(make_trainer):
    t = make_trainer("mood","flags","names","price")
    t.train()
    print(open(t.log.path).read()[-1500:])
def test_finish(settings):
    from jenga.experiment import train
    r = train(settings("mood"), device="cpu")
    print(r.metrics)
def test_fp16():
    from jenga.experiment import make_accelerator
    make_accelerator("fp16","cpu")
def test_valid0(settings):
    from jenga.experiment import train
    r = train(settings("mood", data={"valid_fraction":0.0,"max_length":32}), device="cpu")
    print(r.metrics)
