// Speed of native/ops/conv/patchify.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/conv/patchify.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    for (const bench::Case& test : {bench::Case{"flux 9x384", {9, 16, 48, 48}}, bench::Case{"tiny editor", {36, 16, 12, 12}}}) {
      const double bytes = 2 * static_cast<double>(test.shape.numel()) * b.size();
      b.time("patchify", test.name, test.shape, {bytes, 0}, [&] { return [x = b.normal(test.shape)] { patchify(x, 2); }; });
      b.time("unpatchify", test.name, test.shape, {bytes, 0}, [&] {
        return [x = patchify(b.normal(test.shape), 2), h = test.shape[2], w = test.shape[3]] { unpatchify(x, 2, h, w); };
      });
    }
  });
}
