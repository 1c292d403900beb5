// Hashes of byte strings. Both are part of the format of fitted states: a change makes a new format.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace jenga::refinery {

static_assert(std::endian::native == std::endian::little, "hashes and short numbers read words, lowest byte first");

// The `size` (1 to 7) bytes as the lowest of a word. Parts of a fixed size, which may overlap: a copy of any size is a
// call.
inline uint64_t load_word(const char* bytes, size_t size) {
  if (size >= 4) {
    uint32_t first, last;
    std::memcpy(&first, bytes, 4);
    std::memcpy(&last, bytes + size - 4, 4);
    return first | static_cast<uint64_t>(last) << (8 * (size - 4));
  }
  const auto byte = [&](size_t at) { return uint64_t{static_cast<unsigned char>(bytes[at])} << (8 * at); };
  return byte(0) | byte(size / 2) | byte(size - 1);
}

// Jenga's own 64-bit hash: a multiply and a shift for each eight bytes. Fitted states rest on the one with seed 0.
inline uint64_t hash64(std::string_view bytes, uint64_t seed = 0) {
  uint64_t hash = seed ^ 0x9E3779B97F4A7C15u ^ (bytes.size() * 0xFF51AFD7ED558CCDu);
  const char* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= 8; at += 8, left -= 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    hash = (hash ^ word) * 0x9FB21C651E98DF25u;
    hash ^= hash >> 32;
  }
  if (left > 0) {
    hash = (hash ^ load_word(at, left)) * 0x9FB21C651E98DF25u;
    hash ^= hash >> 32;
  }
  hash *= 0xD6E8FEB86659FD93u;
  return hash ^ (hash >> 32);
}

// For tables in memory, another one in each process: nobody can choose keys that all fall into one place.
extern const uint64_t table_seed;
inline uint64_t table_hash(std::string_view bytes) { return hash64(bytes, table_seed); }

// MurmurHash3_x86_32 (Austin Appleby, public domain algorithm) with seed 0: what scikit-learn's FeatureHasher uses.
inline uint32_t murmur3(std::string_view bytes) {
  constexpr uint32_t c1 = 0xcc9e2d51u;
  constexpr uint32_t c2 = 0x1b873593u;
  const auto rotate = [](uint32_t x, int by) { return (x << by) | (x >> (32 - by)); };
  uint32_t hash = 0;
  const char* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= 4; at += 4, left -= 4) {
    const auto word = static_cast<uint32_t>(load_word(at, 4));
    hash ^= rotate(word * c1, 15) * c2;
    hash = rotate(hash, 13) * 5 + 0xe6546b64u;
  }
  if (left > 0) {
    hash ^= rotate(static_cast<uint32_t>(load_word(at, left)) * c1, 15) * c2;
  }
  hash ^= static_cast<uint32_t>(bytes.size());
  hash = (hash ^ (hash >> 16)) * 0x85ebca6bu;
  hash = (hash ^ (hash >> 13)) * 0xc2b2ae35u;
  return hash ^ (hash >> 16);
}

// The same of the `size` (1 to 8) lowest bytes of a word whose other bytes are 0.
inline uint64_t hash64_word(uint64_t word, size_t size) {
  uint64_t hash = 0x9E3779B97F4A7C15u ^ (size * 0xFF51AFD7ED558CCDu);
  hash = (hash ^ word) * 0x9FB21C651E98DF25u;
  hash ^= hash >> 32;
  hash *= 0xD6E8FEB86659FD93u;
  return hash ^ (hash >> 32);
}

inline uint32_t murmur3_word(uint64_t word, size_t size) {
  constexpr uint32_t c1 = 0xcc9e2d51u;
  constexpr uint32_t c2 = 0x1b873593u;
  const auto rotate = [](uint32_t x, int by) { return (x << by) | (x >> (32 - by)); };
  uint32_t hash = 0;
  if (size >= 4) {
    hash = rotate(rotate(static_cast<uint32_t>(word) * c1, 15) * c2, 13) * 5 + 0xe6546b64u;
    if (size == 8) {
      hash = rotate(hash ^ rotate(static_cast<uint32_t>(word >> 32) * c1, 15) * c2, 13) * 5 + 0xe6546b64u;
    } else {
      hash ^= rotate(static_cast<uint32_t>(word >> 32) * c1, 15) * c2;
    }
  } else {
    hash = rotate(static_cast<uint32_t>(word) * c1, 15) * c2;
  }
  hash ^= static_cast<uint32_t>(size);
  hash = (hash ^ (hash >> 16)) * 0x85ebca6bu;
  hash = (hash ^ (hash >> 13)) * 0xc2b2ae35u;
  return hash ^ (hash >> 16);
}

enum class HashKind : uint8_t { jenga, murmur3 };

struct Bucket {
  uint32_t index;
  bool negative;
};

inline Bucket jenga_bucket(uint64_t hash, uint32_t n_buckets) {
  return {static_cast<uint32_t>(((hash & 0xffffffffu) * n_buckets) >> 32), (hash >> 63) != 0};
}

inline Bucket murmur3_bucket(uint32_t hash, uint32_t n_buckets) {
  const bool negative = (hash >> 31) != 0;
  const uint32_t magnitude = negative ? 0u - hash : hash;
  const bool is_power_of_two = (n_buckets & (n_buckets - 1)) == 0;
  return {is_power_of_two ? magnitude & (n_buckets - 1) : magnitude % n_buckets, negative};
}

// The column and the sign of a hashed token.
inline Bucket bucket_of(std::string_view bytes, HashKind kind, uint32_t n_buckets) {
  return kind == HashKind::jenga ? jenga_bucket(hash64(bytes), n_buckets) : murmur3_bucket(murmur3(bytes), n_buckets);
}

template <HashKind kind>
Bucket word_bucket(uint64_t word, size_t size, uint32_t n_buckets) {
  if constexpr (kind == HashKind::jenga) {
    return jenga_bucket(hash64_word(word, size), n_buckets);
  } else {
    return murmur3_bucket(murmur3_word(word, size), n_buckets);
  }
}

}  // namespace jenga::refinery
