// splat_tile_counts and splat_bin against a list of tiles made pixel by pixel and sorted by comparison.
#include <tuple>

#include "native/core/thread_pool.h"
#include "test/native/splat_reference.h"

using namespace rl;
using namespace rl::test;

namespace {

// (tile, depth, Gaussian) of every tile that has a pixel centre within the half sizes.
std::vector<std::tuple<int64_t, double, int64_t>> expected_pairs(const Values& rows, int64_t width, int64_t height) {
  const int64_t tiles_x = (width + 15) / 16, tiles_y = (height + 15) / 16;
  std::vector<std::tuple<int64_t, double, int64_t>> out;
  for (size_t i = 0; i < rows.size() / kRow; ++i) {
    const double* row = rows.data() + i * kRow;
    if (!(row[10] > 0 && row[11] > 0)) continue;
    const auto touched = [](double centre, double half, int64_t tile) {
      for (int64_t p = 16 * tile; p < 16 * tile + 16; ++p)
        if (std::fabs(static_cast<double>(p) + 0.5 - centre) <= half) return true;
      return false;
    };
    for (int64_t y = 0; y < tiles_y; ++y)
      for (int64_t x = 0; x < tiles_x; ++x)
        if (touched(row[0], row[10], x) && touched(row[1], row[11], y))
          out.emplace_back(y * tiles_x + x, row[9], static_cast<int64_t>(i));
  }
  std::sort(out.begin(), out.end());
  return out;
}

void check_bins(const Binned& b, const Values& rows, int64_t width, int64_t height) {
  const auto expected = expected_pairs(rows, width, height);
  CHECK(b.total == static_cast<int64_t>(expected.size()));
  const Values gaussians = download(b.gaussians), slots = download(b.slots), ranges = download(b.tile_ranges);
  const Values offsets = download(b.offsets);
  CHECK(gaussians.size() == expected.size() && slots.size() == expected.size());
  CHECK(ranges.front() == 0 && ranges.back() == static_cast<double>(expected.size()));
  std::vector<int> seen(expected.size());
  int wrong = 0;
  for (size_t p = 0; p < expected.size(); ++p) {
    const auto& [tile, z, gaussian] = expected[p];
    const size_t t = static_cast<size_t>(tile), g = static_cast<size_t>(gaussian);
    wrong += gaussians[p] != static_cast<double>(gaussian);
    wrong += !(ranges[t] <= static_cast<double>(p) && static_cast<double>(p) < ranges[t + 1]);
    wrong += !(offsets[g] <= slots[p] && slots[p] < offsets[g + 1]);
    ++seen[static_cast<size_t>(slots[p])];
  }
  CHECK_MSG(wrong == 0, wrong << " of " << expected.size() << " pairs are wrong");
  CHECK(std::all_of(seen.begin(), seen.end(), [](int n) { return n == 1; }));
}

}  // namespace

TEST_CASE("splat_bin lists the Gaussians of every tile by depth, then index") {
  Random random(3);
  for (const auto& device : test_devices())
    for (const auto& [width, height, count] : {std::tuple{16, 16, 40}, std::tuple{70, 37, 300},
        std::tuple{129, 96, 5000}, std::tuple{1, 1, 9}}) {
      Values rows = random_rows(random, count, width, height);
      for (size_t i = 0; i < rows.size() / kRow; i += 3) rows[i * kRow + 9] = 2.5;                      // equal depths
      for (size_t i = 1; i < rows.size() / kRow; i += 7) rows[i * kRow + 10] = rows[i * kRow + 11] = 0;  // culled
      check_bins(bin(*device, rows, width, height), rows, width, height);
    }
}

TEST_CASE("splat_bin: centres exactly between tiles, Gaussians far outside, one over the whole picture") {
  for (const auto& device : test_devices()) {
    Values rows;
    for (double u : {-3e9, -40.0, -1.5, 0.5, 15.5, 16.0, 16.5, 31.5, 47.5, 1e9})
      for (double half : {1.0, 15.0, 16.0, 4000.0}) {
        const Values row = {u, 20, 1, 0, 1, 0.5, 0, 0, 0, 1, half, 3};
        rows.insert(rows.end(), row.begin(), row.end());
      }
    check_bins(bin(*device, rows, 48, 40), rows, 48, 40);
  }
}

TEST_CASE("splat_bin gives the same bits for 1 and 2 threads") {
  const int before = ThreadPool::instance().size();
  Random random(8);
  const Values rows = random_rows(random, 6000, 200, 130);
  std::vector<Values> first;
  for (int threads : {1, 2, 5}) {
    ThreadPool::instance().set_size(threads);
    const Binned b = bin(*test_devices()[0], rows, 200, 130);
    const std::vector<Values> got{download(b.offsets), download(b.gaussians), download(b.slots),
        download(b.tile_ranges)};
    if (first.empty()) first = got;
    CHECK(got == first);
  }
  ThreadPool::instance().set_size(before);
}

TEST_CASE("splat_bin: nothing to sort, NaN rows, too many pairs, wrong arguments") {
  for (const auto& device : test_devices()) {
    CHECK(download(bin(*device, {}, 20, 20).tile_ranges) == Values(5, 0.0));
    Values culled(3 * kRow, 0.0), broken = culled;
    CHECK(bin(*device, culled, 20, 20).total == 0);
    std::fill(broken.begin(), broken.end(), NAN);
    CHECK(bin(*device, broken, 20, 20).total == 0);

    Values huge;
    for (int i = 0; i < 257; ++i) {
      const Values row = {30000, 16000, 1, 0, 1, 0.5, 0, 0, 0, 1, 99999, 99999};
      huge.insert(huge.end(), row.begin(), row.end());
    }
    const Tensor projected = upload(*device, {257, kRow}, huge);
    const auto counted = splat_tile_counts(projected, 65535, 32767);  // 257 * 2^23 tiles
    CHECK(download(counted[1])[0] == -1);
    CHECK(error_code_of([&] { splat_bin(projected, counted[0], -1, 65535, 32767); }) == code::kConfig);
    CHECK(error_code_of([&] { splat_bin(projected, counted[0], int64_t{1} << 31, 65535, 32767); }) == code::kConfig);
    CHECK(error_code_of([&] { splat_tile_counts(projected, 0, 10); }) == code::kConfig);
    CHECK(error_code_of([&] { splat_tile_counts(projected, 10, 65536); }) == code::kConfig);
    CHECK(error_code_of([&] { splat_tile_counts(upload(*device, {2, 10}, Values(20)), 10, 10); }) == code::kShape);
    CHECK(error_code_of([&] { splat_tile_counts(upload(*device, {2, 12}, Values(24), DType::i32), 10, 10);
        }) == code::kShape);
    CHECK(error_code_of([&] { splat_bin(projected, upload(*device, {3}, {0, 1, 2}, DType::i32), 2, 10, 10);
        }) == code::kShape);
    if (!device->is_cuda()) {
      // Offsets that belong to another picture are found when the command runs.
      const auto small = splat_tile_counts(projected, 16, 16);
      CHECK(error_code_of([&] { download(splat_bin(projected, small[0], 257, 64, 64)[0]); }) == code::kShape);
      CHECK(error_code_of([&] { download(splat_bin(projected, small[0], 256, 16, 16)[0]); }) == code::kShape);
    }
  }
}

int main() { return run_all(); }
