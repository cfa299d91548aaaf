// The host side of a CUDA stream: reports, copies to host memory and releases, in stream order, from one waiter thread.
#pragma once

#include <cuda_runtime.h>

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace rl {

class CudaQueue {
 public:
  // `name` ("cuda:0") is for messages. The stream outlives the queue.
  CudaQueue(int index, std::string name, cudaStream_t stream);
  ~CudaQueue();  // aborts, waits for the stream, joins

  // A host function in stream order (later kernels wait for it); it must not call CUDA. Skipped after a failure of
  // another
  // one until a wait has reported it, and after abort().
  void enqueue(const char* op, std::function<void()> work);
  // `done` gets the first failure of anything before it: a host function's, or the device's.
  void enqueue_wait(std::function<void(std::exception_ptr)> done);
  // Runs on the waiter thread, whatever happened before.
  void enqueue_always(std::function<void()> work);
  // Copies `staged`, which the stream is filling, to `host` once it is there; `release` runs after that in any case.
  // After abort() `host` is not touched any more.
  void enqueue_copy(void* host, const void* staged, size_t bytes, std::function<void()> release);
  // Host functions not yet run are skipped; waits report ERR_ABORTED before this returns. Launched kernels run on, and
  // later commands come after them as ever.
  void abort();
  // Throws ERR_DEVICE when an earlier command has broken the device.
  void check();

 private:
  struct Item {
    cudaEvent_t event = nullptr;  // null when recording failed: the device is lost
    std::function<void(std::exception_ptr)> done;
    std::function<void()> work;
    void* host = nullptr;
    const void* staged = nullptr;
    size_t bytes = 0;
    uint64_t sequence = 0;
  };
  struct HostCall {
    CudaQueue* queue;
    const char* op;
    std::function<void()> work;
    uint64_t epoch, sequence;
  };
  static void CUDART_CB run_host_call(void* call);
  void push(std::unique_ptr<Item> item);
  void run();
  void finish(Item& item, std::unique_lock<std::mutex>& lock);
  void lose(cudaError_t status);             // with the mutex held, like the next two
  void clear_reported(uint64_t sequence);
  std::exception_ptr failure_before(uint64_t sequence);

  const int index_;
  const std::string name_;
  const cudaStream_t stream_;

  // Held while something is put on the stream, so that items_ has the stream's order; never by host functions, for
  // which a
  // full stream would wait while it is held. Taken before mutex_.
  std::mutex order_;
  std::mutex mutex_;
  std::condition_variable ready_, idle_;
  std::deque<std::unique_ptr<Item>> items_;  // the front one is being waited for
  std::vector<cudaEvent_t> events_;          // to be reused
  bool stopping_ = false;
  bool copying_ = false;                     // the waiter is writing to a caller's memory
  uint64_t epoch_ = 1;
  uint64_t enqueued_ = 0;
  std::string lost_;                         // why the device cannot be used any more
  std::exception_ptr failure_;               // of a host function
  uint64_t failed_at_ = 0;
  uint64_t poisoned_until_ = 0;              // host functions up to this one stay skipped once it is reported
  std::thread thread_;                       // last member: starts when everything else is ready
};

}  // namespace rl
