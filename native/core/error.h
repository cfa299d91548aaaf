// The one exception type of the native code. The binding turns it into the TypeScript class named by its code.
#pragma once

#include <exception>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace rl {

// Stable codes, shared with src/binding/errors.ts.
namespace code {
inline constexpr const char* kShape = "ERR_SHAPE";
inline constexpr const char* kConfig = "ERR_CONFIG";
inline constexpr const char* kWeights = "ERR_WEIGHTS";
inline constexpr const char* kDevice = "ERR_DEVICE";
inline constexpr const char* kOutOfMemory = "ERR_OUT_OF_MEMORY";
inline constexpr const char* kDisposed = "ERR_DISPOSED";
inline constexpr const char* kAborted = "ERR_ABORTED";
inline constexpr const char* kEnvironment = "ERR_ENVIRONMENT";
}  // namespace code

class Error : public std::runtime_error {
 public:
  Error(const char* code, const std::string& message) : std::runtime_error(message), code_(code) {}
  const char* code() const noexcept { return code_; }

 private:
  const char* code_;  // one of rl::code, static storage
};

// Joins its arguments with operator<<: str("expected ", n, " rows").
template <class... Args>
std::string str(Args&&... args) {
  std::ostringstream out;
  (out << ... << std::forward<Args>(args));
  return out.str();
}

// The exception being handled, as an rl::Error that names the op when it does not do so itself.
inline std::exception_ptr current_failure(const char* op) {
  try {
    throw;
  } catch (const Error& error) {
    return std::make_exception_ptr(error);
  } catch (const std::exception& error) {
    return std::make_exception_ptr(Error(code::kDevice, str(op, ": ", error.what())));
  } catch (...) {
    return std::make_exception_ptr(Error(code::kDevice, str(op, ": unknown failure")));
  }
}

}  // namespace rl

// Throws rl::Error when `condition` is false. The message is only built on failure.
#define RL_CHECK(condition, error_code, ...)                     \
  do {                                                           \
    if (!(condition)) [[unlikely]]                               \
      throw ::rl::Error((error_code), ::rl::str(__VA_ARGS__));   \
  } while (0)
