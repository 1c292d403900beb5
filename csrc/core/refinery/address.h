// IP addresses: reading, and the registries' flags as CPython 3.11's ipaddress module gives them.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace jenga::refinery {

struct Address {
  std::array<uint8_t, 16> bytes{};
  bool is_v6 = false;

  int n_bits() const { return is_v6 ? 128 : 32; }
  bool bit(int i) const { return i < n_bits() && (bytes[i / 8] >> (7 - i % 8) & 1) != 0; }
};

struct AddressFlags {
  bool is_private, loopback, multicast, link_local, reserved, global;
};

namespace detail {

inline bool parse_v4(std::string_view text, uint8_t* bytes) {
  size_t at = 0;
  for (int part = 0; part < 4; ++part) {
    if (part > 0 && (at >= text.size() || text[at++] != '.')) return false;
    const size_t first = at;
    unsigned value = 0;
    while (at < text.size() && static_cast<unsigned char>(text[at] - '0') < 10 && at - first < 3) {
      value = value * 10 + static_cast<unsigned>(text[at++] - '0');
    }
    // A leading 0 is refused: some read it as octal.
    if (at == first || value > 255 || (text[first] == '0' && at - first > 1)) return false;
    bytes[part] = static_cast<uint8_t>(value);
  }
  return at == text.size();
}

inline int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

inline bool parse_v6(std::string_view text, uint8_t* bytes) {
  std::array<uint16_t, 8> groups{};
  int n_groups = 0;
  int gap = -1;
  size_t at = 0;
  if (text.substr(0, 2) == "::") {
    gap = 0;
    at = 2;
  } else if (text.empty() || text[0] == ':') {
    return false;
  }
  while (at < text.size()) {
    if (n_groups == 8) return false;
    const size_t stop = text.find(':', at);
    const std::string_view group = text.substr(at, stop == std::string_view::npos ? stop : stop - at);
    if (stop == std::string_view::npos && group.find('.') != std::string_view::npos) {
      uint8_t v4[4];
      if (n_groups > 6 || !parse_v4(group, v4)) return false;
      groups[n_groups++] = static_cast<uint16_t>(v4[0] << 8 | v4[1]);
      groups[n_groups++] = static_cast<uint16_t>(v4[2] << 8 | v4[3]);
      at = text.size();
      break;
    }
    if (group.empty() || group.size() > 4) return false;
    unsigned value = 0;
    for (const char c : group) {
      const int digit = hex_value(c);
      if (digit < 0) return false;
      value = value << 4 | static_cast<unsigned>(digit);
    }
    groups[n_groups++] = static_cast<uint16_t>(value);
    if (stop == std::string_view::npos) {
      at = text.size();
      break;
    }
    at = stop + 1;
    if (at < text.size() && text[at] == ':') {
      if (gap >= 0) return false;
      gap = n_groups;
      ++at;
    } else if (at == text.size()) {
      return false;
    }
  }
  if (gap < 0 ? n_groups != 8 : n_groups > 7) return false;
  const int n_after = gap < 0 ? 0 : n_groups - gap;
  const int n_before = gap < 0 ? 8 : gap;
  for (int i = 0; i < 8; ++i) {
    const int from = i < n_before ? i : (i >= 8 - n_after ? n_groups - (8 - i) : -1);
    const uint16_t group = from < 0 ? uint16_t{0} : groups[from];
    bytes[2 * i] = static_cast<uint8_t>(group >> 8);
    bytes[2 * i + 1] = static_cast<uint8_t>(group & 0xff);
  }
  return true;
}

// Whether the first `n_bits` of `bytes` are those of `network`.
inline bool within(const uint8_t* bytes, std::initializer_list<uint8_t> network, int n_bits) {
  int i = 0;
  for (const uint8_t expected : network) {
    const int left = n_bits - 8 * i;
    if (left <= 0) return true;
    const auto mask = static_cast<uint8_t>(left >= 8 ? 0xff : 0xff << (8 - left));
    if ((bytes[i] & mask) != (expected & mask)) return false;
    ++i;
  }
  for (; 8 * i < n_bits; ++i) {
    const int left = n_bits - 8 * i;
    const auto mask = static_cast<uint8_t>(left >= 8 ? 0xff : 0xff << (8 - left));
    if ((bytes[i] & mask) != 0) return false;
  }
  return true;
}

inline AddressFlags flags_v4(const uint8_t* b) {
  AddressFlags flags{};
  flags.loopback = within(b, {127}, 8);
  flags.multicast = within(b, {224}, 4);
  flags.link_local = within(b, {169, 254}, 16);
  flags.reserved = within(b, {240}, 4);
  flags.is_private = within(b, {0}, 8) || within(b, {10}, 8) || flags.loopback || flags.link_local ||
                     within(b, {172, 16}, 12) || within(b, {192, 0, 0, 0}, 29) || within(b, {192, 0, 0, 170}, 31) ||
                     within(b, {192, 0, 2}, 24) || within(b, {192, 168}, 16) || within(b, {198, 18}, 15) ||
                     within(b, {198, 51, 100}, 24) || within(b, {203, 0, 113}, 24) || flags.reserved;
  flags.global = !flags.is_private && !within(b, {100, 64}, 10);
  return flags;
}

inline AddressFlags flags_v6(const uint8_t* b) {
  AddressFlags flags{};
  flags.loopback = within(b, {}, 127) && b[15] == 1;
  flags.multicast = b[0] == 0xff;
  flags.link_local = within(b, {0xfe, 0x80}, 10);
  // ::/8 to 1000::/4, 4000::/3 to c000::/3, e000::/4, f000::/5, f800::/6 and fe00::/9.
  const uint8_t first = b[0];
  flags.reserved = first < 0x20 || (first >= 0x40 && first < 0xfc) || within(b, {0xfe, 0x00}, 9);
  const bool unspecified = within(b, {}, 128);
  flags.is_private = flags.loopback || unspecified || within(b, {0x01, 0x00}, 64) || within(b, {0x20, 0x01}, 23) ||
                     within(b, {0x20, 0x01, 0x00, 0x02}, 48) || within(b, {0x20, 0x01, 0x0d, 0xb8}, 32) ||
                     within(b, {0x20, 0x01, 0x00, 0x10}, 28) || within(b, {0xfc}, 7) || flags.link_local;
  flags.global = !flags.is_private;
  return flags;
}

}  // namespace detail

// Reads an address; a zone (`%eth0`) is dropped, an IPv4-mapped IPv6 address becomes its IPv4 address.
inline bool parse_address(std::string_view text, Address& address) {
  if (text.find(':') == std::string_view::npos) {
    address.is_v6 = false;
    return text.size() <= 15 && detail::parse_v4(text, address.bytes.data());
  }
  const size_t zone = text.find('%');
  if (zone != std::string_view::npos) {
    if (zone + 1 == text.size() || text.find_first_of("%/", zone + 1) != std::string_view::npos) return false;
    text = text.substr(0, zone);
  }
  if (text.size() > 45 || !detail::parse_v6(text, address.bytes.data())) return false;
  address.is_v6 = true;
  uint8_t* const b = address.bytes.data();
  if (detail::within(b, {}, 80) && b[10] == 0xff && b[11] == 0xff) {
    for (int i = 0; i < 4; ++i) b[i] = b[12 + i];
    address.is_v6 = false;
  }
  return true;
}

inline AddressFlags address_flags(const Address& address) {
  return address.is_v6 ? detail::flags_v6(address.bytes.data()) : detail::flags_v4(address.bytes.data());
}

}  // namespace jenga::refinery
