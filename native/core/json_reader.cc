#include "native/core/json_reader.h"

namespace rl {

std::string quoted(std::string_view name) {
  constexpr size_t kShown = 100;
  std::string out = "'";
  for (const char c : name.substr(0, kShown)) {
    const bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
    out.push_back(control ? '?' : c);
  }
  return out + (name.size() > kShown ? "…'" : "'");
}

// One raw character of a string: a byte below 0x80, or a whole UTF-8 sequence (Unicode 15, table 3-7).
void JsonReader::copy_rune(std::string& out) {
  const auto byte = [this](size_t i) { return i < text_.size() ? static_cast<unsigned char>(text_[i]) : 0u; };
  const unsigned lead = byte(at_), second = byte(at_ + 1);
  const size_t length = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
  bool valid = length > 0;
  for (size_t i = 1; i < length; ++i) valid = valid && (byte(at_ + i) & 0xC0) == 0x80;
  valid = valid && !(lead == 0xE0 && second < 0xA0) && !(lead == 0xED && second > 0x9F) &&
          !(lead == 0xF0 && second < 0x90) && !(lead == 0xF4 && second > 0x8F);
  if (!valid) fail("a string is not UTF-8");
  out.append(text_.substr(at_, length));
  at_ += length;
}

uint32_t JsonReader::hex4() {
  if (at_ + 4 > text_.size()) fail("a \\u escape is cut off");
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) {
    const char c = text_[at_++];
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0) fail("a \\u escape has a character that is not hexadecimal");
    value = value * 16 + static_cast<uint32_t>(digit);
  }
  return value;
}

std::string JsonReader::string() {
  expect('"');
  std::string out;
  for (;;) {
    if (at_ >= text_.size()) fail("a string is not closed");
    const unsigned char c = static_cast<unsigned char>(text_[at_]);
    if (c < 0x20) fail("a control character stands in a string");
    if (c != '"' && c != '\\') {
      copy_rune(out);
      continue;
    }
    ++at_;
    if (c == '"') return out;
    if (at_ >= text_.size()) fail("an escape is cut off");
    const char escape = text_[at_++];
    switch (escape) {
      case '"': case '\\': case '/': out.push_back(escape); break;
      case 'b': out.push_back('\b'); break;
      case 'f': out.push_back('\f'); break;
      case 'n': out.push_back('\n'); break;
      case 'r': out.push_back('\r'); break;
      case 't': out.push_back('\t'); break;
      case 'u': {
        uint32_t rune = hex4();
        if (rune >= 0xD800 && rune < 0xDC00) {  // high surrogate: its low half must follow
          if (at_ + 2 > text_.size() || text_[at_] != '\\' || text_[at_ + 1] != 'u') fail("a surrogate stands alone");
          at_ += 2;
          const uint32_t low = hex4();
          if (low < 0xDC00 || low > 0xDFFF) fail("a surrogate stands alone");
          rune = 0x10000 + ((rune - 0xD800) << 10) + (low - 0xDC00);
        } else if (rune >= 0xDC00 && rune < 0xE000) {
          fail("a surrogate stands alone");
        }
        if (rune < 0x80) {
          out.push_back(static_cast<char>(rune));
        } else if (rune < 0x800) {
          out.push_back(static_cast<char>(0xC0 | (rune >> 6)));
          out.push_back(static_cast<char>(0x80 | (rune & 0x3F)));
        } else if (rune < 0x10000) {
          out.push_back(static_cast<char>(0xE0 | (rune >> 12)));
          out.push_back(static_cast<char>(0x80 | ((rune >> 6) & 0x3F)));
          out.push_back(static_cast<char>(0x80 | (rune & 0x3F)));
        } else {
          out.push_back(static_cast<char>(0xF0 | (rune >> 18)));
          out.push_back(static_cast<char>(0x80 | ((rune >> 12) & 0x3F)));
          out.push_back(static_cast<char>(0x80 | ((rune >> 6) & 0x3F)));
          out.push_back(static_cast<char>(0x80 | (rune & 0x3F)));
        }
        break;
      }
      default: fail("an unknown escape");
    }
  }
}

int64_t JsonReader::integer() {
  skip_space();
  const size_t start = at_;
  int64_t value = 0;
  while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') {
    value = value * 10 + (text_[at_++] - '0');
    if (value > (int64_t{1} << 53)) fail("a number is larger than 2^53");
  }
  if (at_ == start) fail("expected a whole number");
  if (text_[start] == '0' && at_ > start + 1) fail("a number starts with 0");
  if (at_ < text_.size() && (text_[at_] == '.' || text_[at_] == 'e' || text_[at_] == 'E')) fail("expected a whole number");
  return value;
}

}  // namespace rl
