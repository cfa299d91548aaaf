#include "native/core/queue.h"

#include <chrono>

#include "native/core/error.h"

namespace rl {

CommandQueue::CommandQueue() : thread_([this] { run(); }) {}

CommandQueue::~CommandQueue() {
  abort();
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  ready_.notify_one();
  thread_.join();
}

void CommandQueue::enqueue(const char* op, std::function<void()> work) {
  push({.op = op, .work = std::move(work), .done = nullptr});
}

void CommandQueue::enqueue_wait(std::function<void(std::exception_ptr)> done) {
  push({.op = "wait", .work = nullptr, .done = std::move(done)});
}

void CommandQueue::enqueue_always(std::function<void()> work) {
  push({.op = "release", .work = std::move(work), .done = nullptr, .always = true});
}

void CommandQueue::abort() { epoch_ += 1; }

size_t CommandQueue::pending() const {
  std::lock_guard lock(mutex_);
  return commands_.size();
}

std::vector<OpTime> CommandQueue::take_times() {
  std::lock_guard lock(mutex_);
  std::vector<OpTime> result;
  for (auto& [op, time] : times_) {
    time.op = op;
    result.push_back(time);
  }
  times_.clear();
  return result;
}

void CommandQueue::push(Command command) {
  bool wake;
  {
    std::lock_guard lock(mutex_);
    command.epoch = epoch_;
    command.sequence = ++enqueued_;
    wake = commands_.empty();
    commands_.push_back(std::move(command));
  }
  if (wake) ready_.notify_one();
}

void CommandQueue::run() {
  for (;;) {
    Command command;
    {
      std::unique_lock lock(mutex_);
      ready_.wait(lock, [this] { return stopping_ || !commands_.empty(); });
      if (commands_.empty()) return;
      command = std::move(commands_.front());
      commands_.pop_front();
    }
    execute(command);
  }
}

void CommandQueue::execute(Command& command) {
  if (command.always) {
    command.work();
    return;
  }
  if (failure_ && poisoned_until_ != 0 && command.sequence > poisoned_until_) {
    failure_ = nullptr;
    poisoned_until_ = 0;
  }
  const bool aborted = command.epoch != epoch_;
  if (command.done) {
    if (failure_ && poisoned_until_ == 0) {
      std::lock_guard lock(mutex_);
      poisoned_until_ = enqueued_;
    }
    command.done(aborted ? std::make_exception_ptr(Error(code::kAborted, "aborted")) : failure_);
  } else if (!aborted && !failure_) {
    const auto start = std::chrono::steady_clock::now();
    try {
      command.work();
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      std::lock_guard lock(mutex_);
      OpTime& time = times_[command.op];
      time.calls += 1;
      time.seconds += seconds;
    } catch (...) {
      failure_ = current_failure(command.op);
    }
  }
}

}  // namespace rl
