#include "native/ops/nn/attention.h"

#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

cpu::AttentionArgs arguments(const char* op, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& bias,
                             double scale, bool causal) {
  check_float(op, "q", q);
  check_rank(op, "q", q, 4);
  check_rank(op, "k", k, 4);
  RL_CHECK(q.size(3) >= 1 && q.size(3) <= 512, code::kShape, op, ": head dimension must be 1 to 512, got q ", q.shape());
  const Shape keys{q.size(0), k.size(1), q.size(2), q.size(3)};
  check_shape(op, "k", k, keys, q);
  check_shape(op, "v", v, keys, q);
  check_like(op, "k", k, q);
  check_like(op, "v", v, q);
  if (bias) {
    check_dtype(op, "bias", bias, DType::f32);
    check_shape(op, "bias", bias, {q.size(2), q.size(1), k.size(1)}, q);
    check_device(op, "bias", bias, q);
  }
  cpu::AttentionArgs a;
  a.batch = q.size(0);
  a.lq = q.size(1);
  a.lk = k.size(1);
  a.heads = q.size(2);
  a.d = q.size(3);
  a.scale = static_cast<float>(scale);
  a.causal = causal;
  const bool bf16 = q.dtype() == DType::bf16;
  a.type = bf16 ? cpu::ElementType::bf16 : cpu::ElementType::f32;
  a.compute = bf16 || q.device().matmul_precision == MatmulPrecision::bf16 ? cpu::Compute::bf16 : cpu::Compute::f32;
  a.q = q.data();
  a.k = k.data();
  a.v = v.data();
  a.bias = bias.as<float>();
  return a;
}

}  // namespace

std::vector<Tensor> attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& bias, double scale,
                              bool causal, bool need_lse) {
  cpu::AttentionArgs args = arguments("attention", q, k, v, bias, scale, causal);
  Device& device = q.device();
  Tensor out = Tensor::empty(device, q.shape(), q.dtype()), lse;
  if (need_lse) lse = Tensor::empty(device, {args.batch, args.heads, args.lq});
  args.out = out.data();
  args.lse = lse.as<float>();
  RL_LAUNCH(device, "attention", cpu::attention_forward(args), attention_cuda(args, cuda_stream(device)));
  return {out, lse};
}

std::vector<Tensor> attention_bwd(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
                                  const Tensor& lse, const Tensor& bias, double scale, bool causal, bool need_dbias) {
  cpu::AttentionGradArgs args;
  args.f = arguments("attention_bwd", q, k, v, bias, scale, causal);
  check_shape("attention_bwd", "dout", dout, q.shape(), q);
  check_shape("attention_bwd", "out", out, q.shape(), q);
  check_like("attention_bwd", "dout", dout, q);
  check_like("attention_bwd", "out", out, q);
  check_dtype("attention_bwd", "lse", lse, DType::f32);
  check_shape("attention_bwd", "lse", lse, {q.size(0), q.size(2), q.size(1)}, q);
  check_device("attention_bwd", "lse", lse, q);
  Device& device = q.device();
  Tensor dq = Tensor::empty(device, q.shape(), q.dtype());
  Tensor dk = Tensor::empty(device, k.shape(), k.dtype());
  Tensor dv = Tensor::empty(device, v.shape(), v.dtype());
#if RL_WITH_CUDA
  const Tensor delta = device.is_cuda() ? Tensor::empty(device, lse.shape()) : Tensor{};
#endif
  args.f.out = out.data();
  args.f.lse = lse.as<float>();
  args.dout = dout.data();
  args.dq = dq.data();
  args.dk = dk.data();
  args.dv = dv.data();
  Tensor dbias;
  if (need_dbias) {
    check_defined("attention_bwd", "bias", bias);
    dbias = Tensor::empty(device, bias.shape());
  }
  args.dbias = dbias.as<float>();
  RL_LAUNCH(device, "attention_bwd", cpu::attention_backward(args),
            attention_bwd_cuda(args, delta.as<float>(), cuda_stream(device)));
  return {dq, dk, dv, dbias};
}

RL_OP(attention);
RL_OP(attention_bwd);

}  // namespace rl
