// Drawn tokens beside the reference, and where they go beside the CPU.
#include "ops/replaced_tokens/replaced_tokens.h"

#include "tests/ops/cuda/context.h"
#include "tests/ops/cuda/testing.h"

namespace tsugi {
namespace {

using testing::random_values;
using testing::to_doubles;
using testing::to_tensor;

class CudaReplacedTokens : public testing::OnCuda {
 protected:
  Tensor there(const Tensor& host) const { return on_device(cuda().context, host); }
  Tensor numbers(const std::vector<int32_t>& values, Shape shape) const {
    const Tensor tensor = cuda().host.context.empty(shape, DType::kI32);
    std::copy(values.begin(), values.end(), tensor.data<int32_t>());
    return tensor;
  }
};

TEST_F(CudaReplacedTokens, AreDrawnAsByTheReference) {
  for (const auto& [rows, columns, vocabulary] :
       {std::tuple<int64_t, int64_t, int64_t>{1, 64, 1}, {50, 64, 37}, {9, 2048, 2047}, {40, 128, 128}}) {
    std::vector<double> x = random_values(rows * columns, 1, 2.0);
    const Tensor scores = to_tensor(cuda().host, x, {rows, columns}, DType::kF32);
    const TokenDraw draw{.seed = 7, .site = 3, .first_sample = 100, .rows_per_sample = 4};
    std::vector<int32_t> drawn(static_cast<size_t>(rows));
    reference::draw_rows(columns, x, vocabulary, draw, 6, drawn);
    const Tensor on_cpu = cuda().host.context.empty({rows}, DType::kI32);
    draw_rows(cuda().host, scores, vocabulary, draw, 6, on_cpu);
    const std::vector<double> expected(drawn.begin(), drawn.end());
    EXPECT_EQ(to_doubles(on_cpu), expected);
    testing::for_seeds([&] {
      const Tensor on_cuda = cuda().context.empty({rows}, DType::kI32);
      draw_rows(cuda().context, there(scores), vocabulary, draw, 6, on_cuda);
      EXPECT_EQ(cuda().read(on_cuda), expected);
    });
  }
}

TEST_F(CudaReplacedTokens, GoWhereTheyBelong) {
  constexpr int64_t kRows = 5, kLength = 300, kRoom = 4;
  std::vector<int32_t> tokens, positions, originals, drawn, first_key, end_key;
  for (int32_t i = 0; i < kRows * kLength; ++i) {
    const auto t = static_cast<int32_t>(i % kLength);
    tokens.push_back(i * 7 % 31);
    first_key.push_back(t < 280 ? t / 20 * 20 : t);  // documents of 20, then padding
    end_key.push_back(t < 280 ? (t / 20 + 1) * 20 : t + 1);
  }
  for (int32_t i = 0; i < kRows * kRoom; ++i) {
    const auto row = static_cast<int32_t>(i / kRoom);
    positions.push_back(row * static_cast<int32_t>(kLength) + i % static_cast<int32_t>(kRoom) * 61 + row);
    const bool ignored = row == 3 || i == 6;  // a row without hidden tokens is padding
    originals.push_back(ignored ? kIgnoreIndex : i % 3);
    drawn.push_back(i % 2);
  }
  for (const int keys : {0, 1, 2}) {
    const HiddenTokens hidden{numbers(tokens, {kRows, kLength}), numbers(positions, {kRows * kRoom}),
                              numbers(originals, {kRows * kRoom}),
                              keys == 2 ? numbers(first_key, {kRows, kLength}) : Tensor(),
                              keys >= 1 ? numbers(end_key, {kRows, kLength}) : Tensor()};
    const Tensor with = numbers(drawn, {kRows * kRoom});
    const Tensor replaced = cuda().host.context.empty({kRows, kLength}, DType::kI32);
    const Tensor answers = cuda().host.context.empty({kRows * kLength}, DType::kI32);
    replace_tokens(cuda().host, hidden, with, replaced, answers);
    const HiddenTokens on_cuda{there(hidden.tokens), there(hidden.positions), there(hidden.originals),
                               there(hidden.first_key), there(hidden.end_key)};
    testing::for_seeds([&] {
      const Tensor text = cuda().context.empty({kRows, kLength}, DType::kI32);
      const Tensor told = cuda().context.empty({kRows * kLength}, DType::kI32);
      replace_tokens(cuda().context, on_cuda, there(with), text, told);
      EXPECT_EQ(cuda().read(text), to_doubles(replaced));
      EXPECT_EQ(cuda().read(told), to_doubles(answers));
    });
  }
}

}  // namespace
}  // namespace tsugi
