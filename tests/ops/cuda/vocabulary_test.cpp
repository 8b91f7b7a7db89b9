// Embedding and cross-entropy against the double reference.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <utility>

#include "ops/cross_entropy/cross_entropy.h"
#include "ops/cross_entropy/cross_entropy_cuda.h"
#include "ops/embedding/embedding.h"
#include "ops/embedding/embedding_cuda.h"
#include "tests/ops/cuda/operators.h"

namespace tsugi::testing {
namespace {

using cuda::EmbeddingShape;
using cuda::Stream;

const DType kVocabularyTypes[] = {DType::kF32, DType::kBF16};

/// Tokens with one that is very frequent, so that its run spans several pieces.
std::vector<int32_t> some_tokens(const EmbeddingShape& shape) {
  std::vector<int32_t> tokens;
  const RandomStream stream{11, 0, 0};
  for (int64_t i = 0; i < shape.count(); ++i) {
    const uint32_t word = stream.word(static_cast<uint64_t>(i));
    tokens.push_back(word % 2 == 0 ? static_cast<int32_t>(shape.vocabulary / 3)
                                   : static_cast<int32_t>(word / 2 % static_cast<uint32_t>(shape.vocabulary)));
  }
  return tokens;
}

TEST(CudaEmbedding, EqualsTheReference) {
  const EmbeddingShape shapes[] = {{.batch = 1, .tokens = 1, .width = 8, .vocabulary = 1},
                                   {.batch = 3, .tokens = 5, .width = 37, .vocabulary = 10},
                                   {.batch = 2, .tokens = 70, .width = 24, .vocabulary = 300},
                                   {.batch = 2, .tokens = 1030, .width = 8, .vocabulary = 5000}};
  for (const DType type : kVocabularyTypes) {
    for (EmbeddingShape shape : shapes) {
      for (const Dropout& dropout : {Dropout{}, Dropout{.p = 0.25f, .seed = 3, .first_sample = 2, .site = 1}}) {
        shape.type = type;
        SCOPED_TRACE(std::to_string(shape.count()) + " of " + std::to_string(shape.vocabulary));
        const std::vector<int32_t> tokens = some_tokens(shape);
        const DeviceVector<int32_t> dtokens(tokens);
        std::vector<double> table = random_values(shape.vocabulary * shape.width, 1);
        std::vector<double> positions = random_values(shape.tokens * shape.width, 2);
        std::vector<double> d_out = random_values(shape.count() * shape.width, 3);
        std::vector<double> d_table = random_values(shape.vocabulary * shape.width, 4);
        std::vector<double> d_positions = random_values(shape.tokens * shape.width, 5);
        const DeviceArray dtable(table, type), dpositions(positions, type), dd_out(d_out, type);
        const DeviceArray dd_table(d_table, DType::kF32), dd_positions(d_positions, DType::kF32);
        const DeviceArray out(shape.count() * shape.width, type);
        const cuda::Buffer scratch(cuda::embedding_scratch_bytes(shape));
        Stream stream;
        cuda::embedding_forward(stream, shape, dtokens.data(), dtable.data(), dpositions.data(),
                                cuda::dropout_key(dropout), out.data());
        cuda::embedding_backward(stream, shape, dtokens.data(), cuda::dropout_key(dropout), dd_out.data(),
                                 scratch.data(), dd_table.floats(), dd_positions.floats());
        const std::vector<double> factors = factors_of(dropout, shape.batch, shape.tokens * shape.width);
        std::vector<double> exact;
        const auto width = static_cast<size_t>(shape.width);
        for (size_t i = 0; i < d_out.size(); ++i) {
          const size_t at = i / width;
          exact.push_back(factors[i] * (table[static_cast<size_t>(tokens[at]) * width + i % width] +
                                        positions[at % static_cast<size_t>(shape.tokens) * width + i % width]));
          d_out[i] *= factors[i];
        }
        expect_within_twice(out.read(stream), rounded(exact, type), exact, type);
        reference::embedding_backward(shape.batch, shape.tokens, shape.width, tokens, d_out, d_table, d_positions);
        EXPECT_LE(max_difference(dd_table.read(stream), d_table), 1e-6 * max_abs(d_table));
        EXPECT_LE(max_difference(dd_positions.read(stream), d_positions), 1e-6 * max_abs(d_positions));
      }
    }
  }
}

TEST(CudaEmbedding, WithoutATableOfPositions) {
  const EmbeddingShape shape{.batch = 1, .tokens = 4, .width = 8, .vocabulary = 9};
  std::vector<double> table = random_values(72, 1), d_out = random_values(32, 2), d_table(72, 0.0), unused(32, 0.0);
  const DeviceArray dtable(table, DType::kBF16), dd_out(d_out, DType::kBF16), dd_table(d_table, DType::kF32);
  const DeviceArray out(32, DType::kBF16);
  const std::vector<int32_t> tokens{8, 0, 8, 3};
  const DeviceVector<int32_t> dtokens(tokens);
  const cuda::Buffer scratch(cuda::embedding_scratch_bytes(shape));
  Stream stream;
  cuda::embedding_forward(stream, shape, dtokens.data(), dtable.data(), nullptr, {}, out.data());
  cuda::embedding_backward(stream, shape, dtokens.data(), {}, dd_out.data(), scratch.data(), dd_table.floats(),
                           nullptr);
  const std::vector<double> rows = out.read(stream);
  for (size_t i = 0; i < 32; ++i) EXPECT_EQ(rows[i], table[static_cast<size_t>(tokens[i / 8]) * 8 + i % 8]);
  reference::embedding_backward(1, 4, 8, tokens, d_out, d_table, unused);
  EXPECT_LE(max_difference(dd_table.read(stream), d_table), 1e-6);
}

TEST(CudaEmbedding, SumsInTheOrderOfPositionsInPieces) {
  // More positions than a warp of the sort loads at once, and three digits.
  const EmbeddingShape shape{.type = DType::kF32, .batch = 2, .tokens = 4600, .width = 4, .vocabulary = 70000};
  const std::vector<int32_t> tokens = some_tokens(shape);
  std::vector<double> d_out = random_values(shape.count() * shape.width, 1);
  std::vector<double> zeros(static_cast<size_t>(shape.vocabulary * shape.width));
  const DeviceVector<int32_t> dtokens(tokens);
  const DeviceArray dd_out(d_out, DType::kF32), d_table(zeros, DType::kF32);
  const cuda::Buffer scratch(cuda::embedding_scratch_bytes(shape));
  Stream stream;
  cuda::embedding_backward(stream, shape, dtokens.data(), {}, dd_out.data(), scratch.data(), d_table.floats(), nullptr);

  std::vector<size_t> order(tokens.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return tokens[a] < tokens[b]; });
  const auto width = static_cast<size_t>(shape.width);
  std::vector<double> expected(static_cast<size_t>(shape.vocabulary) * width);
  for (size_t c = 0; c < width; ++c) {
    for (size_t begin = 0, end = 0; begin < order.size(); begin = end) {
      const int32_t token = tokens[order[begin]];
      float total = 0.0f, piece = 0.0f;
      for (end = begin; end < order.size() && tokens[order[end]] == token; ++end) {
        if (end % 32 == 0) total += std::exchange(piece, 0.0f);
        piece += static_cast<float>(d_out[order[end] * width + c]);
      }
      expected[static_cast<size_t>(token) * width + c] = total + piece;
    }
  }
  EXPECT_EQ(d_table.read(stream), expected);
}

/// Softmax and its gradient of one row in double; with `type`, every step rounded to it.
double row_loss(std::span<double> x, int32_t target, std::optional<DType> type) {
  const auto round = [&](double value) { return type ? rounded(value, *type) : value; };
  const double most = *std::max_element(x.begin(), x.end());
  double sum = 0.0;
  for (double& value : x) sum += value = round(std::exp(round(value - most)));
  const double distance = std::log(x[static_cast<size_t>(target)]);
  for (double& value : x) value = round(value / sum);
  x[static_cast<size_t>(target)] = round(x[static_cast<size_t>(target)] - 1.0);
  return std::log(sum) - distance;
}

TEST(CudaCrossEntropy, EqualsTheReference) {
  struct Sizes {
    int64_t rows, vocabulary, columns;
  };
  for (const DType type : kVocabularyTypes) {
    for (const Sizes& s :
         {Sizes{3, 1, 8}, Sizes{4, 50, 64}, Sizes{5, 37, 37}, Sizes{2, 5003, 5056}, Sizes{1, 9001, 9001},
          // Kept by one block on an SM (f32: not kept), and not kept.
          Sizes{3, 57990, 58000}, Sizes{1, 84000, 84000}}) {
      SCOPED_TRACE(std::to_string(s.vocabulary) + " of " + std::to_string(s.columns));
      std::vector<double> logits = random_values(s.rows * s.columns, 1, 4.0);
      for (int64_t i = 0; i < s.rows * s.columns; ++i) {
        if (i % s.columns >= s.vocabulary) logits[static_cast<size_t>(i)] = 1e4;  // padding takes no part
      }
      std::vector<int32_t> targets;
      for (int64_t row = 0; row < s.rows; ++row) {
        targets.push_back(row == 1 ? kIgnoreIndex : static_cast<int32_t>(row * 17 % s.vocabulary));
      }
      const DeviceArray x(logits, type), row_losses(s.rows, DType::kF32);
      const DeviceVector<cuda::DeviceRowLoss> losses(static_cast<size_t>(s.rows));
      const DeviceVector<int32_t> dtargets(targets);
      const DeviceVector<cuda::DeviceLossSum> sum(std::vector<cuda::DeviceLossSum>{{.sum = 1.0, .count = 2}});
      Stream stream;
      cuda::softmax_cross_entropy(stream, type, {}, true, x.data(), dtargets.data(), s.rows, s.vocabulary, s.columns,
                                  losses.data());
      cuda::add_losses(stream, losses.data(), dtargets.data(), s.rows, sum.data(), row_losses.floats());

      std::vector<double> exact(logits.size(), 0.0), plain(logits.size(), 0.0), exact_losses;
      double total = 1.0;
      int64_t count = 2;
      for (int64_t row = 0; row < s.rows; ++row) {
        const int32_t target = targets[static_cast<size_t>(row)];
        exact_losses.push_back(0.0);
        if (target == kIgnoreIndex) continue;
        const auto begin = logits.begin() + row * s.columns;
        std::vector<double> values(begin, begin + s.vocabulary), low = values;
        exact_losses.back() = row_loss(values, target, std::nullopt);
        row_loss(low, target, type);
        std::copy(values.begin(), values.end(), exact.begin() + row * s.columns);
        std::copy(low.begin(), low.end(), plain.begin() + row * s.columns);
        total += exact_losses.back();
        ++count;
      }
      expect_within_twice(x.read(stream), plain, exact, type);
      EXPECT_LE(max_difference(row_losses.read(stream), exact_losses), 1e-5 * std::max(1.0, max_abs(exact_losses)));
      EXPECT_NEAR(sum.read(stream)[0].sum, total, 1e-5 * total);
      EXPECT_EQ(sum.read(stream)[0].count, count);
      const std::vector<double> gradient = x.read(stream);
      for (size_t i = 0; i < gradient.size(); ++i) {
        const auto row = i / static_cast<size_t>(s.columns);
        const bool zero = targets[row] == kIgnoreIndex || static_cast<int64_t>(i) % s.columns >= s.vocabulary;
        ASSERT_TRUE(!zero || gradient[i] == 0.0) << "ignored rows and padding are exactly zero";
      }
    }
  }
}

}  // namespace
}  // namespace tsugi::testing
