#include "native/ops/registry.h"

namespace rl {

std::vector<OpDef>& op_table() {
  static std::vector<OpDef> table;
  return table;
}

namespace detail {

void bad_argument(const char* op, size_t index, const char* expected) {
  throw Error(code::kShape, str(op, ": argument ", index, " must be ", expected));
}

void check_arity(const char* op, size_t expected, size_t got) {
  RL_CHECK(expected == got, code::kShape, op, ": takes ", expected, " arguments, got ", got);
}

}  // namespace detail
}  // namespace rl
