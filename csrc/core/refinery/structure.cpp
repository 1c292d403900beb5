#include "core/refinery/structure.h"

#include <simdjson.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace jenga::refinery {

namespace {

// Whether `c` may stand behind a backslash by itself.
bool is_simple_escape(char c) {
  return c == '"' || c == '\\' || c == '/' || c == 'b' || c == 'f' || c == 'n' || c == 'r' || c == 't';
}

// Of 64 bytes: which are backslashes, and which may stand behind one by themselves.
struct EscapeMasks {
  uint64_t backslashes, simple;
};

EscapeMasks escape_masks_plain(const char* bytes) {
  EscapeMasks masks{};
  for (int i = 0; i < 64; ++i) {
    masks.backslashes |= static_cast<uint64_t>(bytes[i] == '\\') << i;
    masks.simple |= static_cast<uint64_t>(is_simple_escape(bytes[i])) << i;
  }
  return masks;
}

#if defined(__x86_64__)

// Two letters at a time where one bit tells them apart: b and r, f and n.
__attribute__((target("avx2"))) EscapeMasks escape_masks_avx2(const char* bytes) {
  EscapeMasks masks{};
  for (int i = 0; i < 2; ++i) {
    const __m256i part = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + 32 * i));
    const __m256i backslash = _mm256_cmpeq_epi8(part, _mm256_set1_epi8('\\'));
    __m256i simple = _mm256_or_si256(backslash, _mm256_cmpeq_epi8(part, _mm256_set1_epi8('/')));
    simple = _mm256_or_si256(simple, _mm256_cmpeq_epi8(part, _mm256_set1_epi8('"')));
    simple = _mm256_or_si256(simple, _mm256_cmpeq_epi8(part, _mm256_set1_epi8('t')));
    const __m256i b_or_r = _mm256_and_si256(part, _mm256_set1_epi8(~0x10));
    simple = _mm256_or_si256(simple, _mm256_cmpeq_epi8(b_or_r, _mm256_set1_epi8('b')));
    const __m256i f_or_n = _mm256_and_si256(part, _mm256_set1_epi8(~0x08));
    simple = _mm256_or_si256(simple, _mm256_cmpeq_epi8(f_or_n, _mm256_set1_epi8('f')));
    masks.backslashes |= static_cast<uint64_t>(static_cast<uint32_t>(_mm256_movemask_epi8(backslash))) << (32 * i);
    masks.simple |= static_cast<uint64_t>(static_cast<uint32_t>(_mm256_movemask_epi8(simple))) << (32 * i);
  }
  return masks;
}

__attribute__((target("avx512f,avx512bw"))) EscapeMasks escape_masks_avx512(const char* bytes) {
  const __m512i part = _mm512_loadu_si512(bytes);
  const uint64_t backslash = _mm512_cmpeq_epi8_mask(part, _mm512_set1_epi8('\\'));
  const __m512i b_or_r = _mm512_and_si512(part, _mm512_set1_epi8(~0x10));
  const __m512i f_or_n = _mm512_and_si512(part, _mm512_set1_epi8(~0x08));
  return {backslash, backslash | _mm512_cmpeq_epi8_mask(part, _mm512_set1_epi8('/')) |
                         _mm512_cmpeq_epi8_mask(part, _mm512_set1_epi8('"')) |
                         _mm512_cmpeq_epi8_mask(part, _mm512_set1_epi8('t')) |
                         _mm512_cmpeq_epi8_mask(b_or_r, _mm512_set1_epi8('b')) |
                         _mm512_cmpeq_epi8_mask(f_or_n, _mm512_set1_epi8('f'))};
}

#elif defined(__aarch64__)

EscapeMasks escape_masks_neon(const char* bytes) {
  const uint8x16_t weights = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const auto bits = [&](uint8x16_t hits) {
    const uint8x16_t weighted = vandq_u8(hits, weights);
    return static_cast<uint64_t>(vaddv_u8(vget_low_u8(weighted))) |
           static_cast<uint64_t>(vaddv_u8(vget_high_u8(weighted))) << 8;
  };
  EscapeMasks masks{};
  for (int i = 0; i < 4; ++i) {
    const uint8x16_t part = vld1q_u8(reinterpret_cast<const uint8_t*>(bytes + 16 * i));
    const uint8x16_t backslash = vceqq_u8(part, vdupq_n_u8('\\'));
    uint8x16_t simple = vorrq_u8(backslash, vceqq_u8(part, vdupq_n_u8('/')));
    simple = vorrq_u8(simple, vceqq_u8(part, vdupq_n_u8('"')));
    simple = vorrq_u8(simple, vceqq_u8(part, vdupq_n_u8('t')));
    simple = vorrq_u8(simple, vceqq_u8(vandq_u8(part, vdupq_n_u8(0xef)), vdupq_n_u8('b')));
    simple = vorrq_u8(simple, vceqq_u8(vandq_u8(part, vdupq_n_u8(0xf7)), vdupq_n_u8('f')));
    masks.backslashes |= bits(backslash) << (16 * i);
    masks.simple |= bits(simple) << (16 * i);
  }
  return masks;
}

#endif

using EscapeMaskFunction = EscapeMasks (*)(const char*);

EscapeMaskFunction choose_escape_masks() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512bw")) return escape_masks_avx512;
  if (__builtin_cpu_supports("avx2")) return escape_masks_avx2;
#elif defined(__aarch64__)
  return escape_masks_neon;
#endif
  return escape_masks_plain;
}

const EscapeMaskFunction escape_masks = choose_escape_masks();

// Of backslashes in a row the first, third and so on escape the next byte. Adding the starts of runs at even places
// carries through those runs and so tells them from the others.
uint64_t escaping(uint64_t backslashes) {
  constexpr uint64_t even = 0x5555555555555555u;
  const uint64_t starts = backslashes & ~(backslashes << 1);
  const uint64_t of_even_runs = backslashes & ~(backslashes + (starts & even));
  return (of_even_runs & even) | (backslashes & ~of_even_runs & ~even);
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// The code unit of four hex digits, or -1.
int code_unit(const char* digits) {
  int unit = 0;
  for (int i = 0; i < 4; ++i) {
    const int digit = hex_digit(digits[i]);
    if (digit < 0) return -1;
    unit = unit << 4 | digit;
  }
  return unit;
}

bool is_high_surrogate(int unit) { return (unit & 0xfc00) == 0xd800; }
bool is_low_surrogate(int unit) { return (unit & 0xfc00) == 0xdc00; }

// Bytes of the escape at `at`, 0 where it is bad (`error` says why). `left` counts the bytes from `at` to the end.
uint32_t escape_size(const char* at, uint32_t left, RowError& error) {
  error = RowError::bad_escape;
  if (left < 2) return 0;
  switch (at[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
      return 2;
    case 'u':
      break;
    default:
      return 0;
  }
  const int unit = left < 6 ? -1 : code_unit(at + 2);
  if (unit < 0) return 0;
  if (!is_high_surrogate(unit) && !is_low_surrogate(unit)) return 6;
  error = RowError::lone_surrogate;
  const bool pair =
      is_high_surrogate(unit) && left >= 12 && at[6] == '\\' && at[7] == 'u' && is_low_surrogate(code_unit(at + 8));
  return pair ? 12 : 0;
}

void index_escapes(Piece& piece) {
  piece.escapes.resize(piece.size / 64 + 1);
  piece.bad_escapes.clear();
  // Most logs have none.
  if (std::memchr(piece.base, '\\', piece.size) == nullptr) {
    std::ranges::fill(piece.escapes, uint64_t{0});
    piece.bad_escapes.push_back({piece.size, RowError::none});
    return;
  }
  uint32_t checked = 0;  // up to here, by an escape of several bytes
  uint64_t carry = 0;    // whether the block's first byte is escaped
  for (uint32_t block = 0; block < piece.size; block += 64) {
    // Reading on behind the piece is safe: `padding` bytes are there.
    const char* const bytes = piece.base + block;
    const EscapeMasks masks = escape_masks(bytes);
    uint64_t escapes = 0;
    if ((masks.backslashes | carry) != 0) {
      const uint64_t inside = piece.size - block < 64 ? ~uint64_t{0} >> (64 - (piece.size - block)) : ~uint64_t{0};
      escapes = escaping(masks.backslashes & inside & ~carry);
      // Escapes of the byte behind this block are looked at here, where their backslash is.
      const uint64_t simple = (masks.simple >> 1) | (static_cast<uint64_t>(is_simple_escape(bytes[64])) << 63);
      uint64_t others = escapes & ~simple;
      carry = escapes >> 63;
      for (; others != 0; others &= others - 1) {
        const uint32_t at = block + static_cast<uint32_t>(std::countr_zero(others));
        if (at < checked) continue;
        RowError error;
        const uint32_t size = escape_size(piece.base + at, piece.size - at, error);
        if (size == 0) piece.bad_escapes.push_back({at, error});
        checked = at + size;
      }
    }
    piece.escapes[block / 64] = escapes;
  }
  piece.bad_escapes.push_back({piece.size, RowError::none});
}

// Bytes of the UTF-8 character at `at`, 0 where it is none (The Unicode Standard, table 3-7).
size_t character_size(const unsigned char* at, size_t left) {
  const auto follows = [&](size_t i, unsigned char low, unsigned char high) {
    return i < left && at[i] >= low && at[i] <= high;
  };
  const unsigned char first = at[0];
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return follows(1, 0x80, 0xbf) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    const unsigned char low = first == 0xe0 ? 0xa0 : 0x80;
    const unsigned char high = first == 0xed ? 0x9f : 0xbf;
    return follows(1, low, high) && follows(2, 0x80, 0xbf) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const unsigned char low = first == 0xf0 ? 0x90 : 0x80;
    const unsigned char high = first == 0xf4 ? 0x8f : 0xbf;
    return follows(1, low, high) && follows(2, 0x80, 0xbf) && follows(3, 0x80, 0xbf) ? 4 : 0;
  }
  return 0;
}

}  // namespace

PieceIndexer::PieceIndexer() = default;
PieceIndexer::~PieceIndexer() = default;
PieceIndexer::PieceIndexer(PieceIndexer&&) noexcept = default;

// Memory is taken by need: a single event costs little, a stream soon stops growing.
void PieceIndexer::reserve(size_t size) {
  if (index_ != nullptr && size <= index_->capacity()) return;
  const size_t wanted = size < 1'000'000 ? std::bit_ceil(std::max<size_t>(size, 1024)) : size + size / 4;
  const size_t capacity = std::min<size_t>(wanted, simdjson::SIMDJSON_MAXSIZE_BYTES);
  const auto error = index_ == nullptr ? simdjson::get_active_implementation()->create_dom_parser_implementation(
                                             capacity, max_depth, index_)
                                       : index_->set_capacity(capacity);
  if (error != simdjson::SUCCESS) throw std::bad_alloc();
}

const Piece* PieceIndexer::make(const char* data, int64_t data_size, int64_t begin, int64_t end) {
  const int64_t size = end - begin;
  reserve(static_cast<size_t>(size + padding));
  if (end + padding <= data_size) {
    piece_.base = data + begin;
  } else {
    copy_.assign(static_cast<size_t>(size + padding), '\0');
    if (size > 0) std::memcpy(copy_.data(), data + begin, static_cast<size_t>(size));
    piece_.base = copy_.data();
  }
  piece_.source = data + begin;
  piece_.origin = begin;
  piece_.size = static_cast<uint32_t>(size);
  const auto error = index_->stage1(reinterpret_cast<const uint8_t*>(piece_.base), static_cast<size_t>(size),
                                    simdjson::stage1_mode::regular);
  if (error != simdjson::SUCCESS) return nullptr;
  // Of simdjson's implementations only the one for processors without vectors leaves UTF-8 outside strings unchecked.
  static const bool is_fallback = simdjson::get_active_implementation()->name() == "fallback";
  if (is_fallback && !simdjson::validate_utf8(piece_.base, static_cast<size_t>(size))) return nullptr;
  piece_.index = index_->structural_indexes.get();
  piece_.n_index = index_->n_structural_indexes;
  index_escapes(piece_);
  return &piece_;
}

RowError diagnose_bytes(std::string_view row, uint32_t& position) {
  for (size_t at = 0; at < row.size();) {
    const size_t size = character_size(reinterpret_cast<const unsigned char*>(row.data()) + at, row.size() - at);
    position = static_cast<uint32_t>(at);
    if (size == 0) return RowError::invalid_utf8;
    at += size;
  }
  bool inside = false;
  size_t opening = 0;
  size_t escaped = row.size();
  for (size_t at = 0; at < row.size(); ++at) {
    const char c = row[at];
    position = static_cast<uint32_t>(at);
    if (inside && static_cast<unsigned char>(c) < 0x20) return RowError::control_character;
    if (at == escaped) continue;
    // A backslash escapes the next byte even outside of strings, where it is an error of its own: so simdjson reads it.
    if (c == '\\') {
      escaped = at + 1;
    } else if (c == '"') {
      inside = !inside;
      opening = at;
    }
  }
  position = static_cast<uint32_t>(opening);
  return inside ? RowError::unclosed_string : RowError::none;
}

bool has_good_escapes(std::string_view text) {
  for (size_t at = text.find('\\'); at != std::string_view::npos; at = text.find('\\', at)) {
    RowError error;
    const uint32_t size = escape_size(text.data() + at, static_cast<uint32_t>(text.size() - at), error);
    if (size == 0) return false;
    at += size;
  }
  return true;
}

size_t unescape(std::string_view text, char* out) {
  char* const first = out;
  const auto put_character = [&](uint32_t c) {
    if (c < 0x80) {
      *out++ = static_cast<char>(c);
    } else if (c < 0x800) {
      *out++ = static_cast<char>(0xc0 | c >> 6);
      *out++ = static_cast<char>(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
      *out++ = static_cast<char>(0xe0 | c >> 12);
      *out++ = static_cast<char>(0x80 | (c >> 6 & 0x3f));
      *out++ = static_cast<char>(0x80 | (c & 0x3f));
    } else {
      *out++ = static_cast<char>(0xf0 | c >> 18);
      *out++ = static_cast<char>(0x80 | (c >> 12 & 0x3f));
      *out++ = static_cast<char>(0x80 | (c >> 6 & 0x3f));
      *out++ = static_cast<char>(0x80 | (c & 0x3f));
    }
  };
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at < end) {
    const auto* stop = static_cast<const char*>(std::memchr(at, '\\', static_cast<size_t>(end - at)));
    const size_t plain = static_cast<size_t>((stop == nullptr ? end : stop) - at);
    std::memcpy(out, at, plain);
    out += plain;
    at += plain;
    if (at == end) break;
    switch (at[1]) {
      case 'b':
        *out++ = '\b';
        break;
      case 'f':
        *out++ = '\f';
        break;
      case 'n':
        *out++ = '\n';
        break;
      case 'r':
        *out++ = '\r';
        break;
      case 't':
        *out++ = '\t';
        break;
      case 'u': {
        auto unit = static_cast<uint32_t>(code_unit(at + 2));
        if (is_high_surrogate(static_cast<int>(unit))) {
          const auto low = static_cast<uint32_t>(code_unit(at + 8));
          unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
          at += 6;
        }
        put_character(unit);
        at += 4;
        break;
      }
      default:
        *out++ = at[1];
    }
    at += 2;
  }
  return static_cast<size_t>(out - first);
}

}  // namespace jenga::refinery
