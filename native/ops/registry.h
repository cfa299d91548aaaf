// The table of ops that the binding exports. An op is a plain function over tensors, numbers, strings and integer lists;
// RL_OP(name) at the end of its .cc file puts it into the table, and src/tensor/ops/ wraps it under the same name.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "native/core/tensor.h"

namespace rl {

using Ints = std::vector<int64_t>;

// One argument as the binding received it.
struct OpArg {
  enum class Kind { none, tensor, number, text, ints } kind = Kind::none;
  Tensor tensor;
  double number = 0;
  std::string text;
  Ints ints;
};

using OpFn = std::function<void(const std::vector<OpArg>& args, std::vector<Tensor>& results)>;

struct OpDef {
  std::string name;
  std::vector<OpArg::Kind> kinds;  // of the parameters, in order
  OpFn run;
};

std::vector<OpDef>& op_table();

namespace detail {

[[noreturn]] void bad_argument(const char* op, size_t index, const char* expected);
void check_arity(const char* op, size_t expected, size_t got);

template <class T>
struct Convert;
template <>
struct Convert<Tensor> {
  static constexpr OpArg::Kind kind = OpArg::Kind::tensor;  // an absent optional tensor arrives undefined
  static Tensor from(const char* op, const OpArg& arg, size_t i) {
    if (arg.kind != OpArg::Kind::tensor && arg.kind != OpArg::Kind::none) bad_argument(op, i, "a tensor or null");
    return arg.tensor;
  }
};
template <>
struct Convert<std::string> {
  static constexpr OpArg::Kind kind = OpArg::Kind::text;
  static std::string from(const char* op, const OpArg& arg, size_t i) {
    if (arg.kind != OpArg::Kind::text) bad_argument(op, i, "a string");
    return arg.text;
  }
};
template <>
struct Convert<Ints> {
  static constexpr OpArg::Kind kind = OpArg::Kind::ints;
  static Ints from(const char* op, const OpArg& arg, size_t i) {
    if (arg.kind != OpArg::Kind::ints) bad_argument(op, i, "a list of integers");
    return arg.ints;
  }
};
template <class Number>
  requires std::is_arithmetic_v<Number>
struct Convert<Number> {
  static constexpr OpArg::Kind kind = OpArg::Kind::number;
  static Number from(const char* op, const OpArg& arg, size_t i) {
    if (arg.kind != OpArg::Kind::number) bad_argument(op, i, "a number");
    if constexpr (std::is_integral_v<Number> && !std::is_same_v<Number, bool>) {
      if (!(arg.number >= -9007199254740992.0 && arg.number <= 9007199254740992.0)) bad_argument(op, i, "an integer");
    }
    return static_cast<Number>(arg.number);
  }
};

inline void collect(std::vector<Tensor>& results, Tensor value) { results.push_back(std::move(value)); }
inline void collect(std::vector<Tensor>& results, std::vector<Tensor> values) { results = std::move(values); }

template <class Result, class... Args, size_t... I>
OpFn bind_op(const char* op, Result (*fn)(Args...), std::index_sequence<I...>) {
  return [op, fn](const std::vector<OpArg>& args, std::vector<Tensor>& results) {
    check_arity(op, sizeof...(Args), args.size());
    collect(results, fn(Convert<std::decay_t<Args>>::from(op, args[I], I)...));
  };
}

template <class Result, class... Args>
bool register_op(const char* name, Result (*fn)(Args...)) {
  op_table().push_back({name, {Convert<std::decay_t<Args>>::kind...}, bind_op(name, fn, std::index_sequence_for<Args...>{})});
  return true;
}

}  // namespace detail
}  // namespace rl

#define RL_OP(function) static const bool registered_##function = ::rl::detail::register_op(#function, &function)
