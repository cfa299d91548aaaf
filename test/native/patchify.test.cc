#include "native/ops/conv/patchify.h"

#include "test/native/conv_reference.h"

using namespace rl;
using namespace rl::test;

TEST_CASE("patchify orders channel, row, column within a token, and unpatchify undoes it") {
  for_each_device_and_isa([&](Device& device, const std::string&) {
    struct PatchCase {
      int64_t batch, channels, height, width, patch;
    };
    for (DType dtype : {DType::f32, DType::bf16}) {
      for (const PatchCase& c : {PatchCase{2, 16, 6, 8, 2}, PatchCase{1, 3, 28, 42, 14}, PatchCase{3, 5, 4, 7, 1},
          PatchCase{1, 1, 3, 3, 3}}) {
        Random random(6);
        const Sample x(device, {c.batch, c.channels, c.height, c.width}, dtype, random);
        std::vector<double> expected;
        for (int64_t b = 0; b < c.batch; ++b)
          for (int64_t top = 0; top < c.height; top += c.patch)
            for (int64_t left = 0; left < c.width; left += c.patch)
              for (int64_t channel = 0; channel < c.channels; ++channel)
                for (int64_t i = top; i < top + c.patch; ++i)
                  for (int64_t j = left; j < left + c.patch; ++j)
                    expected.push_back(x.values[static_cast<size_t>(((b * c.channels + channel) * c.height + i) *
                        c.width + j)]);
        const Tensor tokens = patchify(x.tensor, c.patch);
        CHECK(tokens.shape() == Shape({c.batch, c.height / c.patch * (c.width / c.patch),
            c.channels * c.patch * c.patch}));
        CHECK(read(tokens) == expected);
        const Tensor back = unpatchify(tokens, c.patch, c.height, c.width);
        CHECK(back.shape() == x.tensor.shape());
        CHECK(read(back) == x.values);
      }
    }
  });
}

TEST_CASE("patchify without elements and with wrong sizes") {
  const std::shared_ptr<Device> device = make_device("cpu");
  CHECK(patchify(Tensor::empty(*device, {0, 4, 6, 6}), 2).shape() == Shape({0, 9, 16}));
  CHECK(unpatchify(Tensor::empty(*device, {0, 9, 16}), 2, 6, 6).shape() == Shape({0, 4, 6, 6}));
  CHECK_THROWS(patchify(Tensor::empty(*device, {1, 4, 5, 6}), 2));
  CHECK_THROWS(unpatchify(Tensor::empty(*device, {1, 9, 15}), 2, 6, 6));
  CHECK_THROWS(unpatchify(Tensor::empty(*device, {1, 8, 16}), 2, 6, 6));
}

int main() { return run_all(); }
