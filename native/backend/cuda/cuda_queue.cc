#include "native/backend/cuda/cuda_queue.h"

#include <cstring>
#include <utility>

#include "native/core/error.h"

namespace rl {

CudaQueue::CudaQueue(int index, std::string name, cudaStream_t stream)
    : index_(index), name_(std::move(name)), stream_(stream), thread_([this] { run(); }) {}

CudaQueue::~CudaQueue() {
  abort();
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  ready_.notify_one();
  thread_.join();
  (void)cudaStreamSynchronize(stream_);  // host functions refer to this object
  for (cudaEvent_t event : events_) (void)cudaEventDestroy(event);
  (void)cudaGetLastError();
}

void CudaQueue::enqueue(const char* op, std::function<void()> work) {
  auto call = std::make_unique<HostCall>(HostCall{this, op, std::move(work), 0, 0});
  std::lock_guard order(order_);
  {
    std::lock_guard lock(mutex_);
    RL_CHECK(lost_.empty(), code::kDevice, lost_);
    call->epoch = epoch_;
    call->sequence = ++enqueued_;
  }
  HostCall* submitted = call.release();  // run_host_call owns it from here
  const cudaError_t status = cudaLaunchHostFunc(stream_, run_host_call, submitted);
  if (status == cudaSuccess) return;
  call.reset(submitted);
  std::lock_guard lock(mutex_);
  lose(status);
  throw Error(code::kDevice, lost_);
}

void CUDART_CB CudaQueue::run_host_call(void* data) {
  const std::unique_ptr<HostCall> call(static_cast<HostCall*>(data));
  CudaQueue& queue = *call->queue;
  {
    std::lock_guard lock(queue.mutex_);
    queue.clear_reported(call->sequence);
    if (call->epoch != queue.epoch_ || queue.failure_) return;
  }
  try {
    call->work();
  } catch (...) {
    std::lock_guard lock(queue.mutex_);
    queue.failure_ = current_failure(call->op);
    queue.failed_at_ = call->sequence;
  }
}

void CudaQueue::enqueue_wait(std::function<void(std::exception_ptr)> done) {
  auto item = std::make_unique<Item>();
  item->done = std::move(done);
  push(std::move(item));
}

void CudaQueue::enqueue_always(std::function<void()> work) {
  auto item = std::make_unique<Item>();
  item->work = std::move(work);
  push(std::move(item));
}

void CudaQueue::enqueue_copy(void* host, const void* staged, size_t bytes, std::function<void()> release) {
  auto item = std::make_unique<Item>();
  item->work = std::move(release);
  item->host = host;
  item->staged = staged;
  item->bytes = bytes;
  push(std::move(item));
}

void CudaQueue::push(std::unique_ptr<Item> item) {
  std::lock_guard order(order_);
  {
    std::lock_guard lock(mutex_);
    item->sequence = ++enqueued_;
    if (!events_.empty()) {
      item->event = events_.back();
      events_.pop_back();
    }
  }
  cudaError_t status = cudaSuccess;
  // Blocking: the waiter sleeps, it does not spin on a core that the host needs.
  if (item->event == nullptr) status = cudaEventCreateWithFlags(&item->event, cudaEventDisableTiming |
                                                                cudaEventBlockingSync);
  if (status == cudaSuccess) status = cudaEventRecord(item->event, stream_);
  {
    std::lock_guard lock(mutex_);
    if (status != cudaSuccess) {
      lose(status);
      item->event = nullptr;
    }
    items_.push_back(std::move(item));
  }
  ready_.notify_one();
}

void CudaQueue::run() {
  (void)cudaSetDevice(index_);
  std::unique_lock lock(mutex_);
  for (;;) {
    ready_.wait(lock, [this] { return stopping_ || !items_.empty(); });
    if (items_.empty()) return;
    const cudaEvent_t event = items_.front()->event;  // abort() may empty the item, but leaves it in its place
    if (event != nullptr) {
      lock.unlock();
      const cudaError_t status = cudaEventSynchronize(event);
      lock.lock();
      if (status != cudaSuccess) lose(status);
      events_.push_back(event);
    }
    const std::unique_ptr<Item> item = std::move(items_.front());
    items_.pop_front();
    finish(*item, lock);
  }
}

void CudaQueue::finish(Item& item, std::unique_lock<std::mutex>& lock) {
  const std::exception_ptr failure = item.done ? failure_before(item.sequence) : nullptr;
  if (item.host != nullptr && lost_.empty()) {
    copying_ = true;
    lock.unlock();
    std::memcpy(item.host, item.staged, item.bytes);
    lock.lock();
    copying_ = false;
    idle_.notify_all();
  }
  lock.unlock();
  try {
    if (item.done) item.done(failure);
    if (item.work) item.work();
  } catch (...) {  // nobody is left to hear of it
  }
  item.done = nullptr;
  item.work = nullptr;
  lock.lock();
}

void CudaQueue::abort() {
  std::vector<std::function<void(std::exception_ptr)>> waits;
  {
    std::unique_lock lock(mutex_);
    epoch_ += 1;
    // Once a wait has reported, its caller may free the memory that a copy before it was to fill.
    idle_.wait(lock, [this] { return !copying_; });
    for (auto& item : items_) {
      item->host = nullptr;
      if (item->done) waits.push_back(std::exchange(item->done, nullptr));
    }
  }
  const auto aborted = std::make_exception_ptr(Error(code::kAborted, "aborted"));
  for (auto& done : waits) done(aborted);
}

void CudaQueue::check() {
  std::lock_guard lock(mutex_);
  RL_CHECK(lost_.empty(), code::kDevice, lost_);
}

void CudaQueue::lose(cudaError_t status) {
  (void)cudaGetLastError();
  if (!lost_.empty()) return;
  lost_ = str(name_, " is lost: ", cudaGetErrorString(status), " (CUDA error ", static_cast<int>(status),
              "). A command before this point broke it; the process must be restarted. Run with "
              "CUDA_LAUNCH_BLOCKING=1, or under compute-sanitizer, to find which");
}

void CudaQueue::clear_reported(uint64_t sequence) {
  if (failure_ && poisoned_until_ != 0 && sequence > poisoned_until_) {
    failure_ = nullptr;
    poisoned_until_ = 0;
  }
}

std::exception_ptr CudaQueue::failure_before(uint64_t sequence) {
  if (!lost_.empty()) return std::make_exception_ptr(Error(code::kDevice, lost_));
  clear_reported(sequence);
  if (!failure_ || failed_at_ > sequence) return nullptr;
  if (poisoned_until_ == 0) poisoned_until_ = enqueued_;
  return failure_;
}

}  // namespace rl
