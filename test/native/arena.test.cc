// The allocator, and tensors as views of its memory.
#include "native/core/arena.h"

#include <cstdlib>
#include <cstring>
#include <future>
#include <set>
#include <vector>

#include "native/core/tensor.h"
#include "test/native/harness.h"

using namespace rl;
using namespace rl::test;

namespace {

// A system of limited memory that counts what it gives.
struct System {
  size_t limit = SIZE_MAX;
  size_t given = 0;
  int allocations = 0;
  std::set<void*> live;

  Arena::System calls() {
    return {[this](size_t bytes) -> void* {
              if (bytes > limit - given) return nullptr;
              given += bytes;
              ++allocations;
              void* data = std::malloc(1);  // an address of its own; nobody writes there
              live.insert(data);
              return data;
            },
            [this](void* data, size_t bytes) {
              given -= bytes;
              CHECK(live.erase(data) == 1);
              std::free(data);
            },
            [this] { return limit - given; }, "test memory"};
  }
};

template <class Body>
std::string error_of(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return str(error.code(), ": ", error.what());
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("size classes waste at most an eighth, never shrink, and are their own class") {
  CHECK(Arena::size_class(0) == 64 && Arena::size_class(1) == 64 && Arena::size_class(65) == 128 && Arena::size_class(1024) == 1024);
  Random random(1);
  double worst = 0;
  size_t previous = 0;
  const auto check = [&](size_t bytes) {
    const size_t size = Arena::size_class(bytes);
    CHECK_MSG(size >= bytes && size % 64 == 0 && Arena::size_class(size) == size, bytes << " -> " << size);
    const double waste = static_cast<double>(size - bytes);
    if (bytes > 1024) worst = std::max(worst, waste / static_cast<double>(bytes));
    if (bytes <= 1024) CHECK(waste <= 64);
  };
  for (size_t bytes = 0; bytes < 20'000; ++bytes) {
    check(bytes);
    CHECK(Arena::size_class(bytes) >= previous);
    previous = Arena::size_class(bytes);
  }
  for (int bit = 10; bit < 62; ++bit) {
    for (int64_t near : {-1, 0, 1}) check((size_t{1} << bit) + static_cast<size_t>(near));
    check((size_t{1} << bit) + random.next() % (size_t{1} << bit));
  }
  CHECK_LE(worst, 0.125);
}

TEST_CASE("freed blocks of a class are handed out again") {
  System system;
  Arena arena(system.calls());
  void* first = arena.allocate(5000);
  void* second = arena.allocate(5000);
  CHECK(first != second && system.allocations == 2);
  arena.release(first, 5000);
  CHECK(arena.allocate(5100) == first);  // the same class
  CHECK(arena.allocate(70'000) != nullptr && system.allocations == 3);
  arena.release(second, 5000);
  const ArenaStats stats = arena.stats();
  CHECK(stats.blocks == 2 && stats.used == Arena::size_class(5100) + Arena::size_class(70'000));
  CHECK(stats.cached == Arena::size_class(5000));
  CHECK(stats.peak == 2 * Arena::size_class(5000) + Arena::size_class(70'000));
}

TEST_CASE("a steady loop never reaches the system") {
  System system;
  Arena arena(system.calls());
  int after_first = 0;
  for (int round = 0; round < 100; ++round) {
    std::vector<std::pair<void*, size_t>> blocks;
    for (size_t bytes : {64u, 1000u, 5000u, 5000u, 123'456u}) blocks.emplace_back(arena.allocate(bytes), bytes);
    for (const auto& [data, bytes] : blocks) arena.release(data, bytes);
    if (round == 0) after_first = system.allocations;
  }
  CHECK(system.allocations == after_first && arena.stats().used == 0 && arena.stats().blocks == 0);
}

TEST_CASE("trim gives back what is cached and keeps what is live") {
  System system;
  {
    Arena arena(system.calls());
    void* live = arena.allocate(3000);
    for (size_t bytes : {100u, 2000u, 40'000u}) arena.release(arena.allocate(bytes), bytes);
    CHECK(arena.stats().cached > 0);
    arena.trim();
    CHECK(arena.stats().cached == 0 && system.given == Arena::size_class(3000) && system.live.count(live) == 1);
    arena.trim();
    arena.release(live, 3000);
  }
  CHECK(system.given == 0 && system.live.empty());  // the destructor trims
}

TEST_CASE("cached blocks of other sizes are given up before memory is refused") {
  System system;
  system.limit = 1 << 20;
  Arena arena(system.calls());
  arena.release(arena.allocate(600 << 10), 600 << 10);
  void* data = arena.allocate(800 << 10);
  CHECK(data != nullptr && arena.stats().cached == 0);
  arena.release(data, 800 << 10);
}

TEST_CASE("a refusal names what was asked, what is free, what is in use, and the way out") {
  System system;
  system.limit = size_t{100} << 20;
  Arena arena(system.calls());
  void* held = arena.allocate(size_t{64} << 20);
  CHECK(error_of([&] { arena.allocate(size_t{48} << 20); }) ==
        "ERR_OUT_OF_MEMORY: out of test memory: 48 MiB requested, 36 MiB free, 64 MiB in use by tensors. "
        "Lower the resolution, the number of views or the group size");
  CHECK(arena.stats().blocks == 1 && arena.stats().used == size_t{64} << 20);
  arena.release(arena.allocate(size_t{32} << 20), size_t{32} << 20);  // goes on
  arena.release(held, size_t{64} << 20);
}

TEST_CASE("tensors: out of memory, too many bytes, and the device goes on") {
  auto device = make_device("cpu");
  CHECK(contains(error_of([&] { Tensor::empty(*device, {int64_t{1} << 48}, DType::f32); }), "ERR_OUT_OF_MEMORY: out of memory: 1073741824 MiB"));
  CHECK(contains(error_of([&] { Tensor::empty(*device, {int64_t{1} << 62}, DType::f32); }), "ERR_SHAPE"));
  CHECK(contains(error_of([&] { Tensor::empty(*device, {int64_t{1} << 40, int64_t{1} << 40}); }), "ERR_SHAPE"));
  CHECK(contains(error_of([&] { Tensor::empty(*device, {2, -1}); }), "ERR_SHAPE: a dimension is negative: -1"));
  CHECK(contains(error_of([&] { Tensor::empty(*device, {1, 1, 1, 1, 1, 1, 1, 1, 1}); }), "ERR_SHAPE: a tensor has at most 8"));
  CHECK(Tensor::empty(*device, {3, 4}).bytes() == 48 && Tensor::empty(*device, {0, 4}).bytes() == 0);
}

TEST_CASE("reshape and narrow_rows share memory and refuse what does not fit") {
  auto device = make_device("cpu");
  const Tensor x = Tensor::empty(*device, {4, 3, 2});
  const Tensor flat = x.reshape({24});
  CHECK(flat.data() == x.data() && flat.shape() == Shape{24});
  CHECK(error_of([&] { x.reshape({5, 5}); }) == "ERR_SHAPE: reshape: [4,3,2] has 24 elements, [5,5] has 25");
  CHECK(contains(error_of([&] { x.reshape({int64_t{1} << 32, int64_t{1} << 32}); }), "too many elements"));
  const Tensor rows = x.narrow_rows(1, 2);
  CHECK(rows.shape() == (Shape{2, 3, 2}) && rows.as<float>() == x.as<float>() + 6);
  CHECK(rows.narrow_rows(1, 1).as<float>() == x.as<float>() + 12);
  CHECK(x.narrow_rows(4, 0).numel() == 0 && x.narrow_rows(0, 4).shape() == x.shape());
  CHECK(error_of([&] { x.narrow_rows(3, 2); }) == "ERR_SHAPE: narrow_rows: 2 rows from row 3 of [4,3,2]");
  for (const auto& [start, length] : std::vector<std::pair<int64_t, int64_t>>{{-1, 2}, {0, -1}, {5, 0}, {0, 5}, {INT64_MAX, 1}, {1, INT64_MAX}})
    CHECK_MSG(contains(error_of([&, s = start, l = length] { x.narrow_rows(s, l); }), "ERR_SHAPE: narrow_rows"), start << " " << length);
  CHECK(contains(error_of([&] { x.reshape({24}).reshape({}).rank(); }), "ERR_SHAPE: reshape"));
  CHECK(contains(error_of([&] { Tensor::empty(*device, {}).narrow_rows(0, 1); }), "ERR_SHAPE: narrow_rows"));
}

TEST_CASE("memory lives as long as its last view") {
  auto device = make_device("cpu");
  Tensor view;
  {
    const Tensor x = Tensor::empty(*device, {8, 8});
    view = x.narrow_rows(2, 2).reshape({16});
  }
  CHECK(device->memory().blocks == 1);
  view = Tensor{};
  CHECK(device->memory().blocks == 0 && device->memory().cached == 256);
  device->trim();
  CHECK(device->memory().cached == 0);
}

TEST_CASE("trim frees behind the commands that still use a block") {
  auto device = make_device("cpu");
  std::promise<void> gate;
  auto opened = gate.get_future().share();
  constexpr int64_t kMiB = 1 << 20;
  {
    // Large enough to be a mapping of its own: freed too early, the write below ends the process.
    const Tensor block = Tensor::empty(*device, {64 * kMiB}, DType::f32);
    device->enqueue("slow", [opened, data = static_cast<char*>(block.data()), bytes = block.bytes()] {
      opened.wait();
      std::memset(data, 1, bytes);
    });
  }
  device->trim();
  CHECK(device->memory().cached == 0);
  gate.set_value();
  device->wait();
}

TEST_CASE("where memory is short, blocks that are freed later are waited for") {
  std::vector<void*> leaving;
  size_t given = 0;
  int settled = 0;
  Arena arena{{[&](size_t bytes) { return given + bytes > 1024 ? nullptr : (given += bytes, std::malloc(bytes)); },
               [&](void* data, size_t) { leaving.push_back(data); }, [] { return size_t{0}; }, "memory",
               [&] {
                 ++settled;
                 for (void* data : leaving) std::free(data), given = 0;
                 leaving.clear();
               }}};
  arena.release(arena.allocate(1024), 1024);
  void* other = arena.allocate(512);
  CHECK(other != nullptr && settled == 1 && leaving.empty());
  arena.release(other, 512);
  arena.trim();
  for (void* data : leaving) std::free(data);
}

TEST_CASE("the null device counts memory and runs nothing") {
  auto device = make_device("null");
  CHECK(device->kind() == DeviceKind::null && device->name() == "null");
  bool ran = false;
  device->enqueue("op", [&] { ran = true; });
  {
    const Tensor huge = Tensor::empty(*device, {int64_t{1} << 40});  // 4 TiB that exist nowhere
    CHECK(device->memory().used == size_t{1} << 42);
    char byte = 0;
    device->upload(huge.data(), &byte, huge.bytes());
    device->download(&byte, huge.data(), huge.bytes());
    device->wait();
  }
  CHECK(!ran && device->memory().used == 0 && device->memory().peak == size_t{1} << 42);
  device->trim();
  CHECK(device->memory().cached == 0);
  bool always = false;
  device->enqueue_always([&] { always = true; });
  device->wait();
  CHECK(always);
}

TEST_CASE("unknown devices") {
  for (const char* name : {"gpu", "", "cpu:0", "CPU"})
    CHECK_MSG(contains(error_of([&] { make_device(name); }), "ERR_CONFIG: unknown device"), name);
}

int main() { return run_all(); }
