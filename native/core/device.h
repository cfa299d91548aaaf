// What the ops need of a device: memory and a queue. Every command of a device runs in the order it was enqueued, so
// memory may be handed out again as soon as the host lets go of it: whoever gets it next writes later in the queue.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "native/core/arena.h"
#include "native/core/queue.h"

namespace rl {

class Device;

// Memory of a device. Arena memory goes back to the arena; other memory (mapped files) is let go when the queue has
// passed the point where the last handle was dropped.
struct Buffer {
  std::shared_ptr<Device> device;
  void* data = nullptr;
  size_t bytes = 0;
  std::shared_ptr<const void> owner;  // keeps foreign memory alive; null for arena memory
  ~Buffer();
};

enum class DeviceKind { cpu, cuda, null };

// Precision of the products of f32 matrices (sums are always f32): f32, or bf16 for speed where the hardware has it.
enum class MatmulPrecision { f32, bf16 };

class Device : public std::enable_shared_from_this<Device> {
 public:
  Device(DeviceKind kind, int index, std::string name) : kind_(kind), index_(index), name_(std::move(name)) {}
  virtual ~Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  DeviceKind kind() const { return kind_; }
  int index() const { return index_; }
  const std::string& name() const { return name_; }  // "cpu", "cuda:0", "null"
  bool is_cuda() const { return kind_ == DeviceKind::cuda; }

  // Throws ERR_OUT_OF_MEMORY naming requested and free bytes.
  std::shared_ptr<Buffer> allocate(size_t bytes);
  ArenaStats memory() const { return arena_->stats(); }
  // Gives cached memory back to the system, once the commands that may still use it have run.
  virtual void trim() { arena_->trim(); }

  // Runs `work` after everything enqueued before it. An exception is kept and thrown by the next wait; commands after
  // a failed or aborted one are skipped until then. `op` names the command in messages.
  virtual void enqueue(const char* op, std::function<void()> work) = 0;
  // Like enqueue, but runs even after a failure or abort; `done` receives what went wrong, or null.
  virtual void enqueue_wait(std::function<void(std::exception_ptr)> done) = 0;
  // Runs after everything before it, whatever happened to it, and reports nothing.
  virtual void enqueue_always(std::function<void()> work) = 0;
  // Skips what has been enqueued and not yet run; waits in flight report ERR_ABORTED.
  virtual void abort() = 0;

  // Blocking wait for native tests and benches: throws what the queue met.
  void wait();
  // `host` is read before the call returns.
  virtual void upload(void* destination, const void* host, size_t bytes) = 0;
  // `host` must stay alive until a following enqueue_wait reports.
  virtual void download(void* host, const void* source, size_t bytes) = 0;

  // Time by op since the last call; empty where the device does not measure it.
  virtual std::vector<OpTime> take_times() { return {}; }

  MatmulPrecision matmul_precision = MatmulPrecision::f32;

 protected:
  std::unique_ptr<Arena> arena_;

 private:
  friend struct Buffer;
  DeviceKind kind_;
  int index_;
  std::string name_;
};

// "cpu", "cuda", "cuda:1", "null". Throws ERR_ENVIRONMENT when the device cannot be had, with the reason.
std::shared_ptr<Device> make_device(const std::string& spec);

}  // namespace rl

// Enqueues an op on its device: `cpu_call` runs later on the device's thread (capture raw pointers and numbers only,
// never a Tensor), `cuda_call` launches at once on the stream (use cuda_stream(device)).
#if RL_WITH_CUDA
#define RL_LAUNCH(device, op, cpu_call, cuda_call)             \
  do {                                                         \
    if ((device).is_cuda()) {                                  \
      cuda_call;                                               \
    } else {                                                   \
      (device).enqueue((op), [=] { cpu_call; });               \
    }                                                          \
  } while (0)
#else
#define RL_LAUNCH(device, op, cpu_call, cuda_call) (device).enqueue((op), [=] { cpu_call; })
#endif
