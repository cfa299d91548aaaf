// The command queue of a CPU device: one thread that runs commands in order.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace rl {

// Where a device's time went: calls and seconds of one op since the last reset.
struct OpTime {
  std::string op;
  int64_t calls = 0;
  double seconds = 0;
};

class CommandQueue {
 public:
  CommandQueue();
  ~CommandQueue();  // runs what is queued as skipped, then joins

  void enqueue(const char* op, std::function<void()> work);
  // `done` gets the failure of anything before it. Once reported, what was enqueued until then stays skipped (it was
  // built on garbage); later commands start clean.
  void enqueue_wait(std::function<void(std::exception_ptr)> done);
  // Runs whatever happened before, and reports nothing.
  void enqueue_always(std::function<void()> work);
  // Commands enqueued so far and not yet run are skipped; their waits report ERR_ABORTED.
  void abort();
  size_t pending() const;
  // Time by op, and a fresh start. Two clock reads a command: always on.
  std::vector<OpTime> take_times();

 private:
  struct Command {
    const char* op;
    std::function<void()> work;                      // one of the two is set
    std::function<void(std::exception_ptr)> done;
    bool always = false;
    uint64_t epoch = 0;
    uint64_t sequence = 0;
  };
  void push(Command command);
  void run();
  void execute(Command& command);

  mutable std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<Command> commands_;
  bool stopping_ = false;
  std::atomic<uint64_t> epoch_{1};          // raised by abort(); older commands are skipped
  uint64_t enqueued_ = 0;                   // sequence number of the newest command
  std::unordered_map<const char*, OpTime> times_;  // by the op's static name
  std::exception_ptr failure_;              // queue thread only, like the next
  uint64_t poisoned_until_ = 0;             // commands up to this number are skipped after a reported failure; 0: none yet
  std::thread thread_;                      // last member: starts when everything else is ready
};

}  // namespace rl
