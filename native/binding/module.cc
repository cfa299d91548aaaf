// The export list of the add-on. Everything else of this folder unpacks arguments; nothing here computes.
#include <malloc.h>

#include <cmath>

#include "native/binding/state.h"

namespace rl::binding {

Completions::Completions(Napi::Env env)
    : env_(env),
      function_(Napi::ThreadSafeFunction::New(env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}),
                                              "rl3dedit completions", 0, 1)) {
  function_.Unref(env);
}

void Completions::close() { function_.Release(); }

std::function<void(std::function<void(Napi::Env)>)> Completions::begin() {
  if ((*pending_)++ == 0) function_.Ref(env_);
  auto pending = pending_;
  auto function = function_;
  return [pending, function](std::function<void(Napi::Env)> done) mutable {
    function.NonBlockingCall([pending, function, done = std::move(done)](Napi::Env env, Napi::Function) mutable {
      if (--(*pending) == 0) function.Unref(env);
      Napi::HandleScope scope(env);
      done(env);
    });
  };
}

Napi::Error to_js(Napi::Env env, std::exception_ptr error) {
  const char* code = code::kDevice;
  std::string message = "unknown failure";
  try {
    std::rethrow_exception(error);
  } catch (const Error& e) {
    code = e.code();
    message = e.what();
  } catch (const std::exception& e) {
    message = e.what();
  } catch (...) {
  }
  Napi::Error js = Napi::Error::New(env, message);
  js.Value().Set("code", Napi::String::New(env, code));
  return js;
}

void throw_js(Napi::Env env, const Error& error) { throw to_js(env, std::make_exception_ptr(error)); }

int64_t whole_number(const Napi::Value& value) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : 0.5;
  RL_CHECK(number == std::floor(number) && std::fabs(number) <= 9007199254740992.0, code::kShape,
           "a list must hold whole numbers");
  return static_cast<int64_t>(number);
}

Shape shape_arg(const Napi::Value& value) {
  if (!value.IsArray()) throw Error(code::kShape, "a shape must be an array of integers");
  const auto array = value.As<Napi::Array>();
  Shape shape;
  for (uint32_t i = 0; i < array.Length(); ++i) shape.push_back(whole_number(array.Get(i)));
  return shape;
}

Napi::Array to_array(Napi::Env env, const Shape& shape) {
  auto array = Napi::Array::New(env, shape.rank());
  for (int i = 0; i < shape.rank(); ++i) array.Set(static_cast<uint32_t>(i), static_cast<double>(shape[i]));
  return array;
}

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  // By default every thread (the pool's, libuv's, libvips') gets a malloc arena and each keeps its high-water mark: a
  // process that edits again and again would grow by a tenth. Large blocks are ours; the small ones share one arena.
  ::mallopt(M_ARENA_MAX, 1);
  // And by default glibc raises its thresholds once a large block was freed, and then keeps up to 64 MB of such blocks:
  // pictures come and go here. Fixed thresholds give them back at once.
  ::mallopt(M_MMAP_THRESHOLD, 512 * 1024);
  ::mallopt(M_TRIM_THRESHOLD, 512 * 1024);
  // One state per environment (workers and jest reload the module): it travels as callback data, not as a global.
  auto* state = new State(env);
  env.AddCleanupHook([state] {
    state->completions.close();
    delete state;
  });
  export_build_info(env, exports);
  export_raycast(env, exports);
  export_devices(env, exports, state);
  export_tensors(env, exports, state);
  export_files(env, exports, state);
  export_ops(env, exports, state);
  return exports;
}

}  // namespace
}  // namespace rl::binding

static Napi::Object init_module(Napi::Env env, Napi::Object exports) { return rl::binding::init(env, exports); }
NODE_API_MODULE(rl3dedit, init_module)
