// What a device promises of its queue: order, failures reported once to everything built on them, abort, always.
#include "native/core/queue.h"

#include <cstring>
#include <future>

#include "native/core/error.h"
#include "test/native/harness.h"

using namespace rl;
using namespace rl::test;

namespace {

// Holds the queue's thread until opened, so that a test decides what is queued behind what.
class Gate {
 public:
  explicit Gate(CommandQueue& queue) {
    auto entered = std::make_shared<std::promise<void>>();
    auto started = entered->get_future();
    queue.enqueue_always([entered, opened = opened_.get_future().share()] {
      entered->set_value();
      opened.wait();
    });
    started.wait();
  }
  void open() { opened_.set_value(); }

 private:
  std::promise<void> opened_;
};

std::future<std::exception_ptr> wait(CommandQueue& queue) {
  auto reached = std::make_shared<std::promise<std::exception_ptr>>();
  auto future = reached->get_future();
  queue.enqueue_wait([reached](std::exception_ptr error) { reached->set_value(error); });
  return future;
}

// "" for no error, else "CODE: message".
std::string text_of(std::exception_ptr error) {
  if (!error) return "";
  try {
    std::rethrow_exception(error);
  } catch (const Error& known) {
    return str(known.code(), ": ", known.what());
  } catch (...) {
    return "not an rl::Error";
  }
}

}  // namespace

TEST_CASE("commands run in the order they were enqueued") {
  CommandQueue queue;
  std::vector<int> seen;
  for (int i = 0; i < 5000; ++i) {
    if (i % 3 == 0) {
      queue.enqueue_always([&seen, i] { seen.push_back(i); });
    } else if (i % 3 == 1) {
      queue.enqueue("op", [&seen, i] { seen.push_back(i); });
    } else {
      queue.enqueue_wait([&seen, i](std::exception_ptr) { seen.push_back(i); });
    }
  }
  CHECK(text_of(wait(queue).get()).empty());
  CHECK(seen.size() == 5000 && std::is_sorted(seen.begin(), seen.end()));
  CHECK(queue.pending() == 0);
}

TEST_CASE("commands from several threads all run, each thread's in its order") {
  CommandQueue queue;
  std::vector<std::vector<int>> seen(4);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&queue, &seen, t] {
      for (int i = 0; i < 1000; ++i) queue.enqueue("op", [&seen, t, i] { seen[static_cast<size_t>(t)].push_back(i); });
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(text_of(wait(queue).get()).empty());
  for (const auto& list : seen) CHECK(list.size() == 1000 && std::is_sorted(list.begin(), list.end()));
}

TEST_CASE("a failure skips what was enqueued until its report, and later work is clean") {
  CommandQueue queue;
  int ran = 0;
  Gate gate(queue);
  queue.enqueue("first", [&] { ran += 1; });
  queue.enqueue("broken", [] { throw Error(code::kShape, "broken: sizes"); });
  queue.enqueue("after", [&] { ran += 10; });
  auto report = wait(queue);
  queue.enqueue("built on garbage", [&] { ran += 100; });
  auto second = wait(queue);
  gate.open();
  CHECK(text_of(report.get()) == "ERR_SHAPE: broken: sizes");
  CHECK(text_of(second.get()) == "ERR_SHAPE: broken: sizes");
  CHECK(ran == 1);
  queue.enqueue("clean", [&] { ran += 1000; });
  CHECK(text_of(wait(queue).get()).empty());
  CHECK(ran == 1001);
}

TEST_CASE("the first failure is the one reported, and a new one is reported anew") {
  CommandQueue queue;
  for (int round = 0; round < 3; ++round) {
    Gate gate(queue);
    queue.enqueue("a", [round] { throw Error(code::kDevice, str("first ", round)); });
    queue.enqueue("b", [] { throw Error(code::kDevice, "second"); });
    auto report = wait(queue);
    gate.open();
    CHECK(text_of(report.get()) == str("ERR_DEVICE: first ", round));
  }
  CHECK(text_of(wait(queue).get()).empty());
}

TEST_CASE("failures of other types name the op") {
  CommandQueue queue;
  queue.enqueue("resize", [] { throw std::runtime_error("no luck"); });
  CHECK(text_of(wait(queue).get()) == "ERR_DEVICE: resize: no luck");
  queue.enqueue("resize", [] { throw 7; });
  CHECK(text_of(wait(queue).get()) == "ERR_DEVICE: resize: unknown failure");
}

TEST_CASE("abort skips what waits and reports ERR_ABORTED; later work is clean") {
  CommandQueue queue;
  int ran = 0;
  Gate gate(queue);
  queue.enqueue("skipped", [&] { ran += 1; });
  auto first = wait(queue);
  queue.enqueue_always([&] { ran += 10; });
  auto second = wait(queue);
  queue.abort();
  queue.enqueue("kept", [&] { ran += 100; });
  auto third = wait(queue);
  CHECK(queue.pending() == 6);
  gate.open();
  CHECK(text_of(first.get()) == "ERR_ABORTED: aborted");
  CHECK(text_of(second.get()) == "ERR_ABORTED: aborted");
  CHECK(text_of(third.get()).empty());
  CHECK(ran == 110);
}

TEST_CASE("enqueue_always runs after a failure and reports nothing") {
  CommandQueue queue;
  int ran = 0;
  Gate gate(queue);
  queue.enqueue("broken", [] { throw Error(code::kDevice, "broken"); });
  queue.enqueue_always([&] { ran += 1; });
  auto report = wait(queue);
  queue.enqueue_always([&] { ran += 10; });
  gate.open();
  CHECK(text_of(report.get()) == "ERR_DEVICE: broken");
  CHECK(text_of(wait(queue).get()).empty());
  CHECK(ran == 11);
}

TEST_CASE("the destructor skips pending work, still reports every wait and runs what must run") {
  int ran = 0;
  std::vector<std::future<std::exception_ptr>> waits;
  std::thread opener;
  {
    CommandQueue queue;
    auto gate = std::make_shared<Gate>(queue);
    for (int i = 0; i < 100; ++i) {
      queue.enqueue("work", [&] { ran += 1; });
      waits.push_back(wait(queue));
      queue.enqueue_always([&] { ran += 1000; });
    }
    opener = std::thread([gate] {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      gate->open();
    });
  }
  opener.join();
  CHECK_MSG(ran == 100'000, ran);
  for (auto& report : waits) CHECK(text_of(report.get()) == "ERR_ABORTED: aborted");
}

TEST_CASE("ten thousand waits and short lives") {
  CommandQueue queue;
  std::vector<std::future<std::exception_ptr>> waits;
  for (int i = 0; i < 10'000; ++i) waits.push_back(wait(queue));
  bool clean = true;
  for (auto& report : waits) clean = clean && report.get() == nullptr;
  CHECK(clean);
  for (int i = 0; i < 100; ++i) {
    CommandQueue brief;
    brief.enqueue("op", [] {});
  }
}

TEST_CASE("times count what ran, by op, since the last call") {
  CommandQueue queue;
  static const char* const slow = "slow";
  for (int i = 0; i < 3; ++i) queue.enqueue(slow, [] { std::this_thread::sleep_for(std::chrono::milliseconds(2)); });
  queue.enqueue("broken", [] { throw Error(code::kDevice, "broken"); });
  queue.enqueue(slow, [] {});
  wait(queue).get();
  const auto times = queue.take_times();
  CHECK(times.size() == 1);
  for (const OpTime& time : times) CHECK(time.op == "slow" && time.calls == 3 && time.seconds >= 0.006);
  CHECK(queue.take_times().empty());
}

int main() { return run_all(); }
