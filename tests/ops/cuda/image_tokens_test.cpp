// Pictures as tokens, beside the CPU, whose sums have the same order: the same bits.
#include "ops/image_tokens/image_tokens.h"

#include "tests/ops/cuda/context.h"
#include "tests/ops/cuda/low_precision.h"
#include "tests/ops/cuda/testing.h"

namespace tsugi {
namespace {

using testing::random_values;
using testing::to_doubles;
using testing::to_tensor;

class CudaImageTokens : public testing::OnCuda {
 protected:
  /// The same values on the host and on the device.
  struct Both {
    Tensor host, device;
  };
  Both both(int64_t seed, Shape shape, DType type) const {
    std::vector<double> values = random_values(shape.elements(), static_cast<uint64_t>(seed));
    Both result;
    result.host = to_tensor(cuda().host, values, shape, type);
    result.device = cuda().upload(values, shape, type);
    return result;
  }
  Both empty(Shape shape, DType type) const {
    return {cuda().host.context.empty(shape, type), cuda().context.empty(shape, type)};
  }
  void expect_equal(const Both& result) const { EXPECT_EQ(cuda().read(result.device), to_doubles(result.host)); }
};

TEST_F(CudaImageTokens, HasTheBitsOfTheCpu) {
  for (const auto& [batch, patches, width] :
       {std::tuple<int64_t, int64_t, int64_t>{1, 1, 1}, {3, 4, 7}, {5, 9, 64}, {13, 2, 24}, {4, 3, 36}}) {
    for (const DType type : {DType::kF32, DType::kBF16}) {
      for (const bool with_positions : {true, false}) {
        SCOPED_TRACE(std::to_string(width) + (with_positions ? " with positions" : ""));
        const Shape tokens{batch, 1 + patches, width};
        const Both embedded = both(1, {batch, patches, width}, type), class_token = both(2, {1, width}, type);
        const Both positions = with_positions ? both(3, {1 + patches, width}, type) : Both{};
        const Both out = empty(tokens, type), mean = empty({batch, width}, type), d_out = both(4, tokens, type);
        const Both d_patches = empty({batch, patches, width}, type), d_class = both(5, {1, width}, DType::kF32);
        const Both d_positions = with_positions ? both(6, {1 + patches, width}, DType::kF32) : Both{};
        const Both d_mean = both(7, {batch, width}, type), d_x = empty(tokens, type);
        const auto run = [&](const Context& context, Tensor Both::* side) {
          image_tokens(context, embedded.*side, class_token.*side, positions.*side, out.*side);
          image_tokens_backward(context, d_out.*side, d_patches.*side, d_class.*side, d_positions.*side);
          mean_of_patches(context, out.*side, mean.*side);
          mean_of_patches_backward(context, d_mean.*side, d_x.*side);
        };
        run(cuda().host, &Both::host);
        run(cuda().context, &Both::device);
        for (const Both* result : {&out, &d_patches, &d_class, &mean, &d_x}) expect_equal(*result);
        if (with_positions) expect_equal(d_positions);
        // Frozen: only what is asked for is written.
        image_tokens_backward(cuda().context, d_out.device, {}, {}, d_positions.device);
        image_tokens_backward(cuda().host, d_out.host, {}, {}, d_positions.host);
        if (with_positions) expect_equal(d_positions);
      }
    }
  }
}

TEST_F(CudaImageTokens, MatchesTheReferenceInAnyOrder) {
  constexpr int64_t kBatch = 6, kPatches = 5, kWidth = 40;
  const Shape shape{kBatch, 1 + kPatches, kWidth};
  std::vector<double> patches = random_values(kBatch * kPatches * kWidth, 1), token = random_values(kWidth, 2);
  std::vector<double> positions = random_values((1 + kPatches) * kWidth, 3);
  for (const DType type : {DType::kF32, DType::kBF16}) {
    const Tensor in = cuda().upload(patches, {kBatch, kPatches, kWidth}, type);
    const Tensor class_token = cuda().upload(token, {1, kWidth}, type);
    const Tensor places = cuda().upload(positions, {1 + kPatches, kWidth}, type);
    std::vector<double> expected(static_cast<size_t>(shape.elements())), mean(static_cast<size_t>(kBatch * kWidth));
    reference::image_tokens(kBatch, kPatches, kWidth, patches, token, positions, expected);
    reference::mean_of_patches(kBatch, 1 + kPatches, kWidth, testing::rounded(expected, type), mean);
    testing::for_seeds([&] {
      const Tensor out = cuda().context.empty(shape, type), average = cuda().context.empty({kBatch, kWidth}, type);
      image_tokens(cuda().context, in, class_token, places, out);
      mean_of_patches(cuda().context, out, average);
      EXPECT_EQ(cuda().read(out), testing::rounded(expected, type));
      testing::expect_within_twice(cuda().read(average), testing::rounded(mean, type), mean, type);
    });
  }
}

}  // namespace
}  // namespace tsugi
