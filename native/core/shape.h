// The sizes of a contiguous row-major tensor; up to eight dimensions, no heap allocation.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "native/core/error.h"

namespace rl {

class Shape {
 public:
  static constexpr int kMaxRank = 8;

  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(std::vector<int64_t>(dims)) {}
  explicit Shape(const std::vector<int64_t>& dims) {
    RL_CHECK(dims.size() <= kMaxRank, code::kShape, "a tensor has at most ", int{kMaxRank}, " dimensions, got ", dims.size());
    for (int64_t dim : dims) push_back(dim);
  }

  int rank() const { return rank_; }
  // Negative indices count from the back.
  int64_t operator[](int i) const { return dims_[i < 0 ? i + rank_ : i]; }
  int64_t& operator[](int i) { return dims_[i < 0 ? i + rank_ : i]; }
  const int64_t* begin() const { return dims_; }
  const int64_t* end() const { return dims_ + rank_; }

  void push_back(int64_t dim) {
    RL_CHECK(rank_ < kMaxRank, code::kShape, "a tensor has at most ", int{kMaxRank}, " dimensions");
    RL_CHECK(dim >= 0, code::kShape, "a dimension is negative: ", dim);
    dims_[rank_++] = dim;
  }

  // Product of all sizes; throws when it does not fit 63 bits.
  int64_t numel() const {
    int64_t n = 1;
    for (int64_t dim : *this)
      RL_CHECK(!__builtin_mul_overflow(n, dim, &n), code::kShape, "tensor ", to_string(), " has too many elements");
    return n;
  }
  // Product of sizes [first, last).
  int64_t numel(int first, int last) const {
    int64_t n = 1;
    for (int i = first; i < last; ++i) n *= dims_[i];
    return n;
  }

  bool operator==(const Shape& other) const {
    if (rank_ != other.rank_) return false;
    for (int i = 0; i < rank_; ++i)
      if (dims_[i] != other.dims_[i]) return false;
    return true;
  }
  bool operator!=(const Shape& other) const { return !(*this == other); }

  std::string to_string() const {
    std::string text = "[";
    for (int i = 0; i < rank_; ++i) {
      if (i > 0) text.push_back(',');
      text.append(std::to_string(dims_[i]));
    }
    text.push_back(']');
    return text;
  }

 private:
  int64_t dims_[kMaxRank] = {};
  int rank_ = 0;
};

inline std::ostream& operator<<(std::ostream& out, const Shape& shape) { return out << shape.to_string(); }

}  // namespace rl
