// The CUDA device: what it says where there is none, and, on a GPU, its queue, its copies, its abort and its products.
#include <atomic>
#include <chrono>
#include <future>

#include "test/native/tensors.h"
#if RL_WITH_CUDA
#include "native/backend/cuda/cuda_device.h"
#include "native/backend/cuda/gemm.h"
#endif

using namespace rl;
using namespace rl::test;

namespace {

std::string error_of(const std::function<void()>& call, std::string* code = nullptr) {
  try {
    call();
  } catch (const Error& error) {
    if (code != nullptr) *code = error.code();
    return error.what();
  }
  return "";
}

}  // namespace

#if !RL_WITH_CUDA

TEST_CASE("a CPU build says how to get CUDA") {
  std::string code;
  const std::string message = error_of([] { make_device("cuda"); }, &code);
  CHECK(code == "ERR_ENVIRONMENT" && message.find("npm run build:cuda") != std::string::npos);
}

#else

namespace {

std::shared_ptr<Device> gpu() {
  if (cuda_info().device_count == 0) return nullptr;
  static const auto device = make_device("cuda");
  return device;
}

using cpu::Activation;
using cpu::ElementType;
using cpu::GemmArgs;

// C = activation(alpha op(A) op(B) + bias) (+ C) in float64, from what the element type holds.
struct Product {
  int64_t batch, m, n, k;
  bool transpose_a, transpose_b, bias, accumulate, shared_b;
  Activation activation;
  DType operands, result;
};

double activated(double x, Activation activation) {
  switch (activation) {
    case Activation::gelu_tanh: return 0.5 * x * (1 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
    case Activation::gelu_erf: return 0.5 * x * (1 + std::erf(x * 0.7071067811865476));
    case Activation::quick_gelu: return x / (1 + std::exp(-1.702 * x));
    case Activation::silu: return x / (1 + std::exp(-x));
    case Activation::relu: return x < 0 ? 0 : x;
    default: return x;
  }
}

// Operands and result have rows longer than their columns, so that strides are really used.
constexpr int64_t kExtra = 3;
constexpr double kAlpha = 0.75;

void check_product(Device& device, const Product& p, Random& random) {
  const int64_t a_rows = p.transpose_a ? p.k : p.m, a_columns = (p.transpose_a ? p.m : p.k) + kExtra;
  const int64_t b_rows = p.transpose_b ? p.n : p.k, b_columns = (p.transpose_b ? p.k : p.n) + kExtra;
  const int64_t c_columns = p.n + kExtra, b_items = p.shared_b ? 1 : p.batch;
  const Values a = normals(random, {p.batch, a_rows, a_columns}, p.operands),
      b = normals(random, {b_items, b_rows, b_columns}, p.operands);
  const Values bias = normals(random, {p.n}, p.result), before = normals(random, {p.batch, p.m, c_columns}, p.result);
  const Tensor ta = upload(device, {p.batch, a_rows, a_columns}, a, p.operands),
      tb = upload(device, {b_items, b_rows, b_columns}, b, p.operands);
  const Tensor tbias = upload(device, {p.n}, bias, p.result),
      tc = upload(device, {p.batch, p.m, c_columns}, before, p.result);

  const auto type = [](DType dtype) { return dtype == DType::bf16 ? ElementType::bf16 : ElementType::f32; };
  GemmArgs g;
  g.m = p.m, g.n = p.n, g.k = p.k, g.batch = p.batch;
  g.a = {ta.data(), type(p.operands), a_columns, p.transpose_a};
  g.b = {tb.data(), type(p.operands), b_columns, p.transpose_b};
  g.c = tc.data(), g.c_type = type(p.result), g.c_row_stride = c_columns;
  if (p.bias) g.bias = tbias.data(), g.bias_type = type(p.result);
  g.activation = p.activation, g.alpha = static_cast<float>(kAlpha), g.accumulate = p.accumulate;
  g.a_batch_stride = a_rows * a_columns, g.b_batch_stride = p.shared_b ? 0 : b_rows * b_columns,
      g.c_batch_stride = p.m * c_columns;
  gemm_cuda(g, device);

  Values expected = before;  // what lies beyond a row must stay
  for (int64_t item = 0; item < p.batch; ++item)
    for (int64_t i = 0; i < p.m; ++i)
      for (int64_t j = 0; j < p.n; ++j) {
        double sum = 0;
        for (int64_t k = 0; k < p.k; ++k)
          sum += a[static_cast<size_t>(item * a_rows * a_columns + (p.transpose_a ? k * a_columns + i
                                                                    : i * a_columns + k))] *
                 b[static_cast<size_t>((p.shared_b ? 0 : item * b_rows * b_columns) + (p.transpose_b
                     ? j * b_columns + k : k * b_columns + j))];
        double& c = expected[static_cast<size_t>((item * p.m + i) * c_columns + j)];
        const double value = activated(kAlpha * sum + (p.bias ? bias[static_cast<size_t>(j)] : 0), p.activation);
        c = p.accumulate ? c + value : value;
      }
  // A sum of k products in f32 is off by at most k · 2^-24 of its terms; bf16 rounds the result once, by 2^-9.
  const double bound = p.result == DType::bf16 ? 4e-3 : 1e-6 * std::max<double>(4, std::sqrt(static_cast<double>(p.k)));
  CHECK_CLOSE("gemm_cuda", tc, expected, bound);
}

}  // namespace

TEST_CASE("cuda_info gives a reason or a device") {
  const CudaInfo& info = cuda_info();
  CHECK(!info.runtime.empty() && !info.architectures.empty());
  CHECK(info.device_count > 0 || !info.unavailable.empty());
  CHECK(info.devices.size() == static_cast<size_t>(info.device_count));
  std::printf("     CUDA runtime %s, built for %s, driver %s: %s\n", info.runtime.c_str(), info.architectures.c_str(),
              info.driver.empty() ? "none" : info.driver.c_str(),
              info.unavailable.empty() ? info.devices[0].c_str() : info.unavailable.c_str());
}

TEST_CASE("architectures: same major, exact for accelerated ones, PTX for newer ones") {
  CHECK(runs_on("80 86 89 90a 120", 8, 0) && runs_on("80", 8, 7) && runs_on("90a", 9, 0) && runs_on("120", 12, 1));
  CHECK(!runs_on("86", 8, 0) && !runs_on("90a", 10, 0) && !runs_on("80 86 89", 9, 0) && !runs_on("120", 10, 0) &&
        !runs_on("", 9, 0));
  CHECK(runs_on("80-virtual", 9, 0) && runs_on("80 90-virtual", 12, 0) && !runs_on("120-virtual", 9, 0));
}

TEST_CASE("a device that is not there is a typed error with the facts") {
  std::string code;
  const std::string message = error_of([] { make_device("cuda:999"); }, &code);
  CHECK(code == "ERR_ENVIRONMENT");
  for (const char* part : {"cuda:999", "CUDA runtime", "driver", "built for", "--device cpu"})
    CHECK_MSG(message.find(part) != std::string::npos, part << " missing in: " << message);
  if (cuda_info().device_count == 0) CHECK(error_of([] { make_device("cuda");
                                                        }).find(cuda_info().unavailable) != std::string::npos);
}

TEST_CASE("uploads and downloads keep every byte, across staging chunks") {
  const auto device = gpu();
  if (!device) return;
  for (size_t bytes : {size_t{0}, size_t{1}, size_t{12345}, (size_t{8} << 20) - 1, (size_t{8} << 20) + 1,
                       size_t{100} << 20}) {
    std::vector<char> sent(bytes), received(bytes, 7);
    for (size_t i = 0; i < bytes; ++i) sent[i] = static_cast<char>(i * 2654435761u >> 13);
    const auto buffer = device->allocate(bytes);
    device->upload(buffer->data, sent.data(), bytes);
    std::vector<char> same = sent;
    std::fill(sent.begin(), sent.end(), 0);  // it was read before the call returned
    device->download(received.data(), buffer->data, bytes);
    device->wait();
    CHECK_MSG(received == same, bytes << " bytes");
  }
}

TEST_CASE("a download keeps its place when the memory is handed out again") {
  const auto device = gpu();
  if (!device) return;
  std::vector<float> ones(1 << 20, 1), twos(1 << 20, 2), got(1 << 20);
  auto first = device->allocate(ones.size() * 4);
  device->upload(first->data, ones.data(), ones.size() * 4);
  device->download(got.data(), first->data, got.size() * 4);
  first = nullptr;
  const auto second = device->allocate(twos.size() * 4);
  device->upload(second->data, twos.data(), twos.size() * 4);
  device->wait();
  CHECK(got == ones);
}

TEST_CASE("host functions run in order; a failure is reported once and skips what was built on it") {
  const auto device = gpu();
  if (!device) return;
  std::vector<int> order;
  std::atomic<int> always{0};
  for (int i = 0; i < 50; ++i) device->enqueue("count", [&order, i] { order.push_back(i); });
  device->wait();
  CHECK(order.size() == 50 && std::is_sorted(order.begin(), order.end()));
  device->enqueue("bad", [] { throw std::runtime_error("broken"); });
  device->enqueue("skipped", [&] { order.push_back(-1); });
  device->enqueue_always([&] { ++always; });
  std::string code;
  CHECK(error_of([&] { device->wait(); }, &code) == "bad: broken" && code == "ERR_DEVICE");
  CHECK(always == 1 && order.back() == 49);
  device->enqueue("after", [&] { order.push_back(50); });
  device->wait();
  CHECK(order.back() == 50);
}

TEST_CASE("abort reports at once, leaves caller's memory alone, and later commands run") {
  const auto device = gpu();
  if (!device) return;
  auto gate = std::make_shared<std::promise<void>>();
  const auto open = gate->get_future().share();
  std::atomic<bool> ran{false};
  device->enqueue("hold", [open] { open.wait(); });
  device->enqueue("never", [&] { ran = true; });
  const auto buffer = device->allocate(4096);
  auto host = std::make_unique<std::vector<char>>(4096, 'x');
  device->download(host->data(), buffer->data, host->size());
  std::promise<std::exception_ptr> reported;
  device->enqueue_wait([&](std::exception_ptr error) { reported.set_value(error); });
  device->abort();
  auto result = reported.get_future();
  CHECK(result.wait_for(std::chrono::seconds(5)) == std::future_status::ready);  // although the stream is still held
  std::string code;
  error_of([&] { std::rethrow_exception(result.get()); }, &code);
  CHECK(code == "ERR_ABORTED");
  CHECK(*host == std::vector<char>(4096, 'x'));
  host = nullptr;
  gate->set_value();
  device->wait();
  CHECK(!ran);
}

TEST_CASE("too much memory is a typed error and leaves the device usable") {
  const auto device = gpu();
  if (!device) return;
  std::string code;
  const std::string message = error_of([&] { device->allocate(size_t{1} << 46); }, &code);
  CHECK(code == "ERR_OUT_OF_MEMORY" && message.find("GPU memory") != std::string::npos &&
        message.find("free") != std::string::npos);
  const Tensor x = upload(*device, {3}, {1, 2, 3});
  CHECK(download(x) == Values({1, 2, 3}));
}

TEST_CASE("gemm_cuda matches float64: transposes, strides, batches, epilogues, types") {
  const auto device = gpu();
  if (!device) return;
  Random random(5);
  const Activation all[] = {Activation::none, Activation::gelu_tanh, Activation::gelu_erf, Activation::quick_gelu,
                            Activation::silu, Activation::relu};
  for (const auto& [operands, result] : {std::pair{DType::f32, DType::f32}, {DType::bf16, DType::bf16},
                                         {DType::bf16, DType::f32}, {DType::f32, DType::bf16}})
    for (int variant = 0; variant < 24; ++variant) {
      const bool odd = variant % 3 == 0;
      check_product(*device, {variant % 5 == 0 ? 3 : 1, odd ? 33 : 64, odd ? 17 : 48, variant % 8 == 7 ? 0 : odd ? 5
                              : 128, (variant & 1) != 0,
                              (variant & 2) != 0, variant % 4 != 0, variant % 6 == 5, variant % 10 == 5,
                                  all[variant % 6], operands, result}, random);
    }
  check_product(*device, {1, 1, 1, 1, false, false, true, false, false, Activation::none, DType::f32, DType::f32},
                random);
}

TEST_CASE("gemm_cuda refuses what makes no sense") {
  const auto device = gpu();
  if (!device) return;
  const Tensor x = upload(*device, {4, 4}, Values(16));
  GemmArgs g;
  g.m = g.n = g.k = 4;
  g.a = g.b = {x.data(), ElementType::f32, 4, false};
  g.c = x.data(), g.c_row_stride = 3;
  CHECK_THROWS(gemm_cuda(g, *device));
  g.c_row_stride = 4;
  g.b.type = ElementType::bf16;
  CHECK_THROWS(gemm_cuda(g, *device));
}

#endif

int main() {
#if RL_WITH_CUDA
  if (cuda_info().device_count == 0) std::printf("no GPU here, its cases pass without running: %s\n",
                                                 cuda_info().unavailable.c_str());
#endif
  return run_all();
}
