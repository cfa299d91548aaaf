// Exports every registered op under its name in `exports.ops`. Arguments are tensor handles, numbers, booleans, strings,
// integer lists, or null; which of them a number is follows from the op's own signature.
#include "native/binding/state.h"
#include "native/ops/registry.h"

namespace rl::binding {

namespace {

struct OpCallback {
  State* state;
  const OpDef* op;
};

void read_arg(const OpCallback& call, const Napi::Value& value, size_t i, OpArg& arg) {
  switch (value.Type()) {
    case napi_undefined:
    case napi_null: arg.kind = OpArg::Kind::none; return;
    case napi_number:
      arg.kind = call.op->kinds[i];
      arg.number = value.As<Napi::Number>().DoubleValue();
      if (arg.kind == OpArg::Kind::tensor) {
        arg.tensor = call.state->tensors.get(arg.number);
      } else {
        arg.kind = OpArg::Kind::number;
      }
      return;
    case napi_boolean:
      arg.kind = OpArg::Kind::number;
      arg.number = value.As<Napi::Boolean>().Value() ? 1 : 0;
      return;
    case napi_string:
      arg.kind = OpArg::Kind::text;
      arg.text = value.As<Napi::String>().Utf8Value();
      return;
    default: break;
  }
  if (!value.IsArray()) detail::bad_argument(call.op->name.c_str(), i, "a tensor, number, string, list or null");
  const auto array = value.As<Napi::Array>();
  arg.kind = OpArg::Kind::ints;
  for (uint32_t k = 0; k < array.Length(); ++k) arg.ints.push_back(whole_number(array.Get(k)));
}

Napi::Value run_op(const Napi::CallbackInfo& info) {
  const auto& call = *static_cast<OpCallback*>(info.Data());
  return guarded(info.Env(), [&]() -> Napi::Value {
    detail::check_arity(call.op->name.c_str(), call.op->kinds.size(), info.Length());
    std::vector<OpArg> args(info.Length());
    for (size_t i = 0; i < args.size(); ++i) read_arg(call, info[i], i, args[i]);
    std::vector<Tensor> results;
    call.op->run(args, results);
    if (results.size() == 1 && results[0].defined())
      return Napi::Number::New(info.Env(), call.state->tensors.add(std::move(results[0])));
    auto array = Napi::Array::New(info.Env(), results.size());
    for (uint32_t i = 0; i < results.size(); ++i) {
      if (results[i].defined()) {
        array.Set(i, call.state->tensors.add(std::move(results[i])));
      } else {
        array.Set(i, info.Env().Null());
      }
    }
    return array;
  });
}

}  // namespace

void export_ops(Napi::Env env, Napi::Object exports, State* state) {
  auto ops = Napi::Object::New(env);
  for (const OpDef& op : op_table()) {
    auto* call = new OpCallback{state, &op};
    env.AddCleanupHook([call] { delete call; });
    ops.Set(op.name, Napi::Function::New(env, run_op, op.name, call));
  }
  exports.Set("ops", ops);
}

}  // namespace rl::binding
