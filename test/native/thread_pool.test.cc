#include "native/core/thread_pool.h"

#include <atomic>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>

#include "test/native/harness.h"

using rl::ThreadPool;
using namespace rl::test;

TEST_CASE("every index is visited once, for any size, count and grain") {
  ThreadPool& pool = ThreadPool::instance();
  const int size = pool.size();
  for (int threads : {1, 2, 3, 8}) {
    pool.set_size(threads);
    CHECK(pool.size() == threads);
    for (int64_t count : {0, 1, 2, 7, 100, 1001})
      for (int64_t grain : {0, 1, 3, 64, 5000}) {
        std::vector<std::atomic<int>> visits(static_cast<size_t>(count));
        std::atomic<bool> grain_kept{true};
        pool.parallel_for(count, grain, [&](int64_t begin, int64_t end) {
          if (end - begin < std::min(count, grain)) grain_kept = false;
          for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
        });
        bool once = true;
        for (const auto& visit : visits) once &= visit == 1;
        CHECK_MSG(once && grain_kept, threads << " threads, count " << count << ", grain " << grain);
      }
  }
  pool.set_size(size);
}

TEST_CASE("the cut points do not depend on timing") {
  ThreadPool& pool = ThreadPool::instance();
  std::set<std::pair<int64_t, int64_t>> first;
  for (int round = 0; round < 50; ++round) {
    std::set<std::pair<int64_t, int64_t>> ranges;
    std::mutex lock;
    pool.parallel_for(1000, 1, [&](int64_t begin, int64_t end) {
      std::lock_guard<std::mutex> guard(lock);
      ranges.insert({begin, end});
    });
    if (round == 0) first = ranges;
    CHECK(ranges == first);
  }
}

TEST_CASE("nested calls run inline") {
  std::atomic<int64_t> total{0};
  ThreadPool::instance().parallel_for(8, 1, [&](int64_t begin, int64_t end) {
    const auto self = std::this_thread::get_id();
    for (int64_t i = begin; i < end; ++i)
      ThreadPool::instance().parallel_for(10, 1, [&](int64_t b, int64_t e) {
        CHECK(std::this_thread::get_id() == self);
        total += e - b;
      });
  });
  CHECK(total == 80);
}

TEST_CASE("an exception is rethrown and the pool goes on") {
  ThreadPool& pool = ThreadPool::instance();
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> done{0};
    CHECK_THROWS(pool.parallel_for(16, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        ++done;
        if (i == 5) throw std::runtime_error("five");
      }
    }));
    CHECK(done >= 1);
  }
  std::atomic<int64_t> sum{0};
  pool.parallel_for(100, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) sum += i;
  });
  CHECK(sum == 4950);
}

TEST_CASE("many small jobs, from several threads at once") {
  std::atomic<int64_t> sum{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 3; ++caller)
    callers.emplace_back([&] {
      for (int round = 0; round < 3000; ++round)
        ThreadPool::instance().parallel_for(4, 1, [&](int64_t begin, int64_t end) { sum += end - begin; });
    });
  for (std::thread& caller : callers) caller.join();
  CHECK(sum == 3 * 3000 * 4);
}

TEST_CASE("wrong sizes throw") {
  CHECK_THROWS(ThreadPool::instance().set_size(0));
  ThreadPool::instance().parallel_for(4, 1, [](int64_t, int64_t) {});
}

int main() { return run_all(); }
