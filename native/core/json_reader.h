// A pull reader for the small JSON headers of safetensors files: strict, bounded depth, never recursive, never allocates
// more than the text it has read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "native/core/error.h"

namespace rl {

// A name from a file as messages show it: in quotes, without control characters, at most 100 bytes.
std::string quoted(std::string_view name);

class JsonReader {
 public:
  JsonReader(std::string_view text, std::string source) : text_(text), source_(std::move(source)) {}

  // Consumes `c` when it is next.
  bool accept(char c) {
    skip_space();
    if (at_ < text_.size() && text_[at_] == c) {
      ++at_;
      return true;
    }
    return false;
  }
  void expect(char c) {
    if (!accept(c)) fail(str("expected '", c, "'"));
  }
  bool at_end() {
    skip_space();
    return at_ == text_.size();
  }
  // A string as UTF-8; text that is not valid UTF-8 or names half a surrogate pair fails.
  std::string string();
  // An integer in [0, 2^53]; anything else fails.
  int64_t integer();
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(code::kWeights, str(source_, ": header is not valid: ", what, " at byte ", at_ + 8));
  }

 private:
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t')) ++at_;
  }
  uint32_t hex4();
  void copy_rune(std::string& out);

  std::string_view text_;
  std::string source_;
  size_t at_ = 0;
};

}  // namespace rl
