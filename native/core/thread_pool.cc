#include "native/core/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "native/core/error.h"

namespace rl {
namespace {

// More ranges than threads, so that a thread that was descheduled does not hold up the others for long.
constexpr int64_t kRangesPerThread = 4;
// About 30 microseconds of spinning: longer than the gap between two kernels of a network, shorter than a sleep.
constexpr int kSpins = 600;
constexpr int kMaxThreads = 1024;

thread_local bool inside_body = false;

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

int default_size() {
  if (const char* text = std::getenv("RL3DEDIT_THREADS")) {
    char* end = nullptr;
    const long value = std::strtol(text, &end, 10);
    RL_CHECK(end != text && *end == 0 && value >= 1 && value <= kMaxThreads, code::kEnvironment,
             "RL3DEDIT_THREADS: expected a number from 1 to ", kMaxThreads, ", got '", text, "'");
    return static_cast<int>(value);
  }
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

}  // namespace

struct ThreadPool::State {
  std::mutex owner;                    // held by the thread whose parallel_for is running
  std::atomic<int> size{1};
  std::vector<std::thread> workers;

  // The job. Written by the owner before `generation` is raised, read by workers after they saw it.
  const Body* body = nullptr;
  int64_t count = 0;
  int64_t ranges = 0;
  std::atomic<int64_t> next{0};        // next range to take
  std::atomic<bool> open{false};       // may workers still enter the job?
  std::atomic<int> inside{0};          // workers that entered and have not left yet
  std::atomic<uint32_t> generation{0};
  std::atomic<int> sleeping{0};
  bool stop = false;
  std::mutex error_lock;
  std::exception_ptr error;

  void take_ranges() {
    inside_body = true;
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < ranges;) {
      try {
        (*body)(count * i / ranges, count * (i + 1) / ranges);
      } catch (...) {
        std::lock_guard<std::mutex> lock(error_lock);
        if (!error) error = std::current_exception();
      }
    }
    inside_body = false;
  }

  void work(uint32_t seen) {
    for (;;) {
      for (int spin = 0; spin < kSpins && generation.load(std::memory_order_acquire) == seen; ++spin) relax();
      if (generation.load(std::memory_order_acquire) == seen) {
        sleeping.fetch_add(1);
        generation.wait(seen);
        sleeping.fetch_sub(1);
        if (generation.load(std::memory_order_acquire) == seen) continue;
      }
      seen = generation.load(std::memory_order_acquire);
      if (stop) return;
      // Both sides use sequentially consistent order: either this worker sees the job closed, or the owner sees it
      // inside. So the owner never waits for a worker that is still on its way.
      inside.fetch_add(1);
      if (open.load()) take_ranges();
      inside.fetch_sub(1);
    }
  }

  void publish() {
    generation.fetch_add(1);
    if (sleeping.load() > 0) generation.notify_all();
  }

  void resize(int wanted) {
    stop = true;
    publish();
    for (std::thread& worker : workers) worker.join();
    workers.clear();
    stop = false;
    const uint32_t seen = generation.load();
    for (int i = 1; i < wanted; ++i) workers.emplace_back([this, seen] { work(seen); });
    size = wanted;
  }
};

ThreadPool::ThreadPool() : state_(new State) { state_->resize(default_size()); }

ThreadPool& ThreadPool::instance() {
  static ThreadPool* pool = new ThreadPool;
  return *pool;
}

int ThreadPool::size() const { return state_->size.load(std::memory_order_relaxed); }

void ThreadPool::set_size(int size) {
  RL_CHECK(size >= 1 && size <= kMaxThreads, code::kConfig, "threads: expected 1 to ", kMaxThreads, ", got ", size);
  RL_CHECK(!inside_body, code::kConfig, "threads: set_size was called from inside a parallel_for");
  std::lock_guard<std::mutex> lock(state_->owner);
  state_->resize(size);
}

void ThreadPool::parallel_for(int64_t count, int64_t grain, const Body& body) {
  if (count <= 0) return;
  State& state = *state_;
  grain = std::max<int64_t>(grain, 1);
  // Floor, so that no range is smaller than the grain.
  const int64_t ranges = std::min<int64_t>(count / grain, size() * kRangesPerThread);
  if (ranges <= 1 || size() == 1 || inside_body || !state.owner.try_lock()) {
    body(0, count);
    return;
  }
  std::lock_guard<std::mutex> lock(state.owner, std::adopt_lock);
  state.body = &body;
  state.count = count;
  state.ranges = ranges;
  state.next.store(0, std::memory_order_relaxed);
  state.error = nullptr;
  state.open.store(true);
  state.publish();
  state.take_ranges();
  state.open.store(false);
  while (state.inside.load() != 0) {
    for (int spin = 0; spin < kSpins && state.inside.load() != 0; ++spin) relax();
    if (state.inside.load() != 0) std::this_thread::yield();
  }
  if (state.error) std::rethrow_exception(std::exchange(state.error, nullptr));
}

}  // namespace rl
