// One process-wide pool of worker threads for the CPU kernels.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace rl {

class ThreadPool {
 public:
  using Body = std::function<void(int64_t begin, int64_t end)>;

  // The pool of this process. Its size is the number of cores this process may use, or RL3DEDIT_THREADS.
  // It is never destroyed: workers asleep at exit must not be joined while a host unloads libraries.
  static ThreadPool& instance();

  // Threads that take part in a parallel_for, the caller included.
  int size() const;

  // Changes the number of threads (>= 1). Waits for a running parallel_for to finish.
  void set_size(int size);

  // Calls body on disjoint ranges that together cover [0, count), and returns when all are done.
  // The cut points depend on (count, grain, size()) alone; which thread runs which range is decided at run time, so a
  // body must give the same result on any thread. Every range but the last has at least `grain` elements.
  // A call from inside a body, or while another thread has the pool, runs inline as one range.
  // The first exception thrown by a body is rethrown here once all ranges have ended.
  void parallel_for(int64_t count, int64_t grain, const Body& body);

  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

 private:
  ThreadPool();
  ~ThreadPool() = delete;
  struct State;
  State* state_;
};

}  // namespace rl
