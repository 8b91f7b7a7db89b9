#include "ops/image_tokens/image_tokens.h"

#include "tests/ops/testing.h"

namespace tsugi {
namespace {

using testing::CpuContext;

constexpr int64_t kPictures = 5;
constexpr int64_t kPatches = 4;
constexpr int64_t kTokenWidth = 7;

TEST(ImageTokens, ForwardMatchesTheReference) {
  CpuContext cpu(3);
  for (const DType type : {DType::kF32, DType::kBF16}) {
    std::vector<double> patches = testing::random_values(kPictures * kPatches * kTokenWidth, 1);
    std::vector<double> token = testing::random_values(kTokenWidth, 2);
    std::vector<double> positions = testing::random_values((1 + kPatches) * kTokenWidth, 3);
    const Tensor out = cpu.context.empty({kPictures, 1 + kPatches, kTokenWidth}, type);
    image_tokens(cpu, testing::to_tensor(cpu, patches, {kPictures, kPatches, kTokenWidth}, type),
                 testing::to_tensor(cpu, token, {1, kTokenWidth}, type),
                 testing::to_tensor(cpu, positions, {1 + kPatches, kTokenWidth}, type), out);
    std::vector<double> expected(static_cast<size_t>(out.elements()));
    reference::image_tokens(kPictures, kPatches, kTokenWidth, patches, token, positions, expected);
    testing::expect_close(out, expected, type == DType::kF32 ? 1e-7 : 4e-3);

    const Tensor mean = cpu.context.empty({kPictures, kTokenWidth}, type);
    mean_of_patches(cpu, out, mean);
    std::vector<double> expected_mean(static_cast<size_t>(mean.elements()));
    reference::mean_of_patches(kPictures, 1 + kPatches, kTokenWidth, testing::to_doubles(out), expected_mean);
    testing::expect_close(mean, expected_mean, type == DType::kF32 ? 1e-6 : 4e-3);
  }
}

// Everything is linear: <d_out, f(x)> = Σ <df, x> for all inputs together.
TEST(ImageTokens, GradientsAreTheTransposedOperator) {
  CpuContext cpu(2);
  const auto product = [](const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0.0;
    for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
  };
  std::vector<double> patches = testing::random_values(kPictures * kPatches * kTokenWidth, 1);
  std::vector<double> token = testing::random_values(kTokenWidth, 2);
  std::vector<double> positions = testing::random_values((1 + kPatches) * kTokenWidth, 3);
  std::vector<double> d_out_values = testing::random_values(kPictures * (1 + kPatches) * kTokenWidth, 4);
  const Shape shape{kPictures, 1 + kPatches, kTokenWidth};
  const Tensor d_out = testing::to_tensor(cpu, d_out_values, shape, DType::kF32);
  const Tensor d_patches = cpu.context.empty({kPictures, kPatches, kTokenWidth}, DType::kF32);
  std::vector<double> ones(static_cast<size_t>((1 + kPatches) * kTokenWidth), 1.0);
  const Tensor d_positions = testing::to_tensor(cpu, ones, {1 + kPatches, kTokenWidth}, DType::kF32);
  std::vector<double> zeros(static_cast<size_t>(kTokenWidth), 0.0);
  const Tensor d_token = testing::to_tensor(cpu, zeros, {1, kTokenWidth}, DType::kF32);
  image_tokens_backward(cpu, d_out, d_patches, d_token, d_positions);

  std::vector<double> out(d_out_values.size());
  reference::image_tokens(kPictures, kPatches, kTokenWidth, patches, token, positions, out);
  std::vector<double> added = testing::to_doubles(d_positions);
  for (double& value : added) value -= 1.0;  // it was added to
  const double gradients = product(testing::to_doubles(d_patches), patches) +
                           product(testing::to_doubles(d_token), token) + product(added, positions);
  EXPECT_NEAR(product(d_out_values, out), gradients, 1e-4);
  testing::expect_close(d_token, std::span(added).first(kTokenWidth), 1e-6);

  const Tensor d_mean = d_out.slice(0, {kPictures, kTokenWidth});
  const Tensor d_x = cpu.context.empty(shape, DType::kF32);
  mean_of_patches_backward(cpu, d_mean, d_x);
  std::vector<double> mean(static_cast<size_t>(kPictures * kTokenWidth));
  reference::mean_of_patches(kPictures, 1 + kPatches, kTokenWidth, out, mean);
  EXPECT_NEAR(product(testing::to_doubles(d_mean), mean), product(testing::to_doubles(d_x), out), 1e-4);
  EXPECT_EQ(d_x.data<float>()[0], 0.0f) << "the class token is not in the mean";
}

}  // namespace
}  // namespace tsugi
