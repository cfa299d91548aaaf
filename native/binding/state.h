// What one loaded instance of the add-on holds: devices and tensors by handle. Handles are plain numbers, so that an op
// call costs a table look-up and nothing is left to the garbage collector but the TypeScript wrapper.
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "native/core/safetensors.h"
#include "native/core/tensor.h"

namespace rl::binding {

// A slot map: a handle is slot + generation * 2^24, exact in a JavaScript number; a stale handle is told apart.
template <class T>
class HandleTable {
 public:
  explicit HandleTable(const char* what) : what_(what) {}

  double add(T value) {
    uint32_t slot;
    if (!free_.empty()) {
      slot = free_.back();
      free_.pop_back();
    } else {
      RL_CHECK(slots_.size() < kMaxSlots, code::kOutOfMemory, "more than ", uint32_t{kMaxSlots}, " live ", what_, "s; dispose some");
      slot = static_cast<uint32_t>(slots_.size());
      slots_.push_back({});
    }
    slots_[slot].value = std::move(value);
    slots_[slot].live = true;
    return slot + static_cast<double>(slots_[slot].generation) * kMaxSlots;
  }
  T& get(double handle) {
    Slot* slot = find(handle);
    RL_CHECK(slot != nullptr, code::kDisposed, "this ", what_, " was disposed");
    return slot->value;
  }
  // A second removal of the same handle does nothing.
  void remove(double handle) {
    Slot* slot = find(handle);
    if (slot == nullptr) return;
    slot->value = T{};
    slot->live = false;
    slot->generation = (slot->generation + 1) & 0x1FFFFFFF;  // 29 bits: 24 + 29 = 53
    free_.push_back(static_cast<uint32_t>(slot - slots_.data()));
  }
  template <class Predicate>
  size_t count_if(Predicate&& predicate) const {
    size_t count = 0;
    for (const Slot& slot : slots_) count += slot.live && predicate(slot.value) ? 1 : 0;
    return count;
  }

 private:
  static constexpr uint32_t kMaxSlots = 1u << 24;
  struct Slot {
    T value{};
    uint32_t generation = 0;
    bool live = false;
  };
  Slot* find(double handle) {
    if (!(handle >= 0 && handle < 9007199254740992.0)) return nullptr;
    const uint64_t bits = static_cast<uint64_t>(handle);
    const uint32_t slot = static_cast<uint32_t>(bits % kMaxSlots);
    if (slot >= slots_.size() || !slots_[slot].live || slots_[slot].generation != bits / kMaxSlots) return nullptr;
    return &slots_[slot];
  }

  const char* what_;
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
};

// Resolves promises on the JavaScript thread; keeps the process alive only while something is pending.
class Completions {
 public:
  explicit Completions(Napi::Env env);
  void close();
  // Called on the JavaScript thread. The result calls back there: from any thread, once.
  std::function<void(std::function<void(Napi::Env)>)> begin();

 private:
  Napi::Env env_;
  Napi::ThreadSafeFunction function_;
  std::shared_ptr<int> pending_ = std::make_shared<int>(0);
};

struct State {
  explicit State(Napi::Env env) : completions(env) {}
  Completions completions;
  HandleTable<std::shared_ptr<Device>> devices{"device"};
  HandleTable<Tensor> tensors{"tensor"};
  HandleTable<std::shared_ptr<SafetensorsFile>> files{"file"};
};

// Throws the JavaScript error for a native one: its `code` property is the stable code.
[[noreturn]] void throw_js(Napi::Env env, const Error& error);
Napi::Error to_js(Napi::Env env, std::exception_ptr error);

// Wraps a function body: rl::Error and anything else std become JavaScript errors.
template <class Body>
auto guarded(Napi::Env env, Body&& body) -> decltype(body()) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (const Error& error) {
    throw_js(env, error);
  } catch (const std::bad_alloc&) {
    throw_js(env, Error(code::kOutOfMemory, "out of memory on the host"));
  } catch (const std::exception& error) {
    throw_js(env, Error(code::kDevice, error.what()));
  }
}

inline double number_arg(const Napi::CallbackInfo& info, size_t i) {
  if (!info[i].IsNumber()) throw Error(code::kShape, str("argument ", i, " must be a number"));
  return info[i].As<Napi::Number>().DoubleValue();
}
inline std::string string_arg(const Napi::CallbackInfo& info, size_t i) {
  if (!info[i].IsString()) throw Error(code::kShape, str("argument ", i, " must be a string"));
  return info[i].As<Napi::String>().Utf8Value();
}
int64_t whole_number(const Napi::Value& value);  // throws ERR_SHAPE for anything else
Shape shape_arg(const Napi::Value& value);
Napi::Array to_array(Napi::Env env, const Shape& shape);

void export_devices(Napi::Env env, Napi::Object exports, State* state);
void export_tensors(Napi::Env env, Napi::Object exports, State* state);
void export_files(Napi::Env env, Napi::Object exports, State* state);
void export_ops(Napi::Env env, Napi::Object exports, State* state);
void export_build_info(Napi::Env env, Napi::Object exports);
void export_raycast(Napi::Env env, Napi::Object exports);

}  // namespace rl::binding
