#include "ops/embedding/embedding.h"

#include "ops/tensor/dropout_factors.h"
#include "tests/ops/testing.h"

namespace tsugi {
namespace {

using testing::CpuContext;

struct EmbeddingProblem {
  int64_t batch, length, width, vocabulary, positions;
};

constexpr EmbeddingProblem kProblems[] = {
    {1, 1, 1, 1, 1}, {2, 3, 5, 7, 4}, {3, 33, 17, 11, 40}, {2, 65, 515, 29, 65}, {4, 50, 1030, 500, 64}};

/// Few distinct tokens, so that nearly all repeat and some span several pieces; the last token never occurs if V > 1.
Tensor make_tokens(const Context& context, const EmbeddingProblem& p, uint64_t seed) {
  const Tensor tokens = context.empty({p.batch, p.length}, DType::kI32);
  const RandomStream stream{seed, 0, 0};
  const int64_t used = std::max(int64_t{1}, std::min(p.vocabulary - 1, int64_t{9}));
  for (int64_t i = 0; i < tokens.elements(); ++i) {
    const uint32_t word = stream.word(static_cast<uint64_t>(i));
    tokens.data<int32_t>()[i] = word % 2 == 0 ? 0 : static_cast<int32_t>(word / 2 % used);
  }
  return tokens;
}

std::span<const int32_t> ids(const Tensor& tokens) {
  return {tokens.data<int32_t>(), static_cast<size_t>(tokens.elements())};
}

/// What the contract says about an element, from Philox words one at a time.
double factor(const Dropout& dropout, int64_t row, int64_t element) {
  if (!dropout.active()) return 1.0;
  const uint32_t word = dropout.stream(row).word(static_cast<uint64_t>(element));
  return word < dropout.threshold() ? 0.0 : static_cast<double>(dropout.keep_scale());
}

const Dropout kEmbeddingDropout{.p = 0.3f, .seed = 5, .first_sample = 1ull << 33, .site = 9};

TEST(DropoutFactors, AnyRunGivesTheDecisionsOfTheStream) {
  for (const int64_t begin : {0, 1, 2, 3, 4, 63, 64, 65, 1000003}) {
    for (const int64_t count : {1, 2, 5, 63, 64, 65, 200}) {
      std::vector<float> factors(static_cast<size_t>(count) + 1, -7.0f);
      dropout_factors(kEmbeddingDropout, 3, begin, count, factors.data());
      for (int64_t i = 0; i < count; ++i)
        ASSERT_EQ(factors[i], factor(kEmbeddingDropout, 3, begin + i)) << begin << " " << i;
      EXPECT_EQ(factors.back(), -7.0f);
    }
  }
}

class EmbeddingTest : public ::testing::TestWithParam<std::tuple<EmbeddingProblem, DType, bool>> {};

TEST_P(EmbeddingTest, ForwardIsTheRoundedSum) {
  const auto [p, type, drops] = GetParam();
  const Dropout dropout = drops ? kEmbeddingDropout : Dropout{};
  CpuContext cpu(2);
  auto token_values = testing::random_values(p.vocabulary * p.width, 1);
  auto position_values = testing::random_values(p.positions * p.width, 2);
  const Tensor token_table = testing::to_tensor(cpu, token_values, {p.vocabulary, p.width}, type);
  const Tensor position_table = testing::to_tensor(cpu, position_values, {p.positions, p.width}, type);
  const Tensor tokens = make_tokens(cpu, p, 3);
  const Tensor out = cpu.context.empty({p.batch, p.length, p.width}, type);
  for (const int64_t first : {int64_t{0}, p.positions - p.length}) {
    embedding_forward(cpu, tokens, token_table, position_table, first, dropout, out);
    const std::vector<double> values = testing::to_doubles(out);
    for (int64_t i = 0; i < out.elements(); ++i) {
      const int64_t c = i % p.width;
      const int64_t t = i / p.width % p.length;
      const int64_t b = i / p.width / p.length;
      const float sum = static_cast<float>(token_values[ids(tokens)[b * p.length + t] * p.width + c]) +
                        static_cast<float>(position_values[(first + t) * p.width + c]);
      const float kept = sum * static_cast<float>(factor(dropout, b, t * p.width + c));
      const double expected = type == DType::kBF16 ? static_cast<float>(bf16(kept)) : kept;
      ASSERT_EQ(values[i], expected) << "element " << i;
    }
  }
}

TEST_P(EmbeddingTest, BackwardAddsToTheTables) {
  const auto [p, type, drops] = GetParam();
  const Dropout dropout = drops ? kEmbeddingDropout : Dropout{};
  CpuContext cpu(3);
  const Tensor tokens = make_tokens(cpu, p, 3);
  auto gradient = testing::random_values(p.batch * p.length * p.width, 4);
  auto d_token = testing::random_values(p.vocabulary * p.width, 5);
  auto d_position = testing::random_values(p.positions * p.width, 6);
  const Tensor d_out = testing::to_tensor(cpu, gradient, {p.batch, p.length, p.width}, type);
  const Tensor d_token_table = testing::to_tensor(cpu, d_token, {p.vocabulary, p.width}, DType::kF32);
  const Tensor d_position_table = testing::to_tensor(cpu, d_position, {p.positions, p.width}, DType::kF32);

  embedding_backward(cpu, tokens, dropout, d_out, d_token_table, d_position_table);
  for (int64_t i = 0; i < d_out.elements(); ++i) {
    gradient[i] *= factor(dropout, i / (p.length * p.width), i % (p.length * p.width));
  }
  reference::embedding_backward(p.batch, p.length, p.width, ids(tokens), gradient, d_token, d_position);
  testing::expect_close(d_token_table, d_token, 2e-6);  // sums of at most 200 terms in f32
  testing::expect_close(d_position_table, d_position, 5e-7);
}

INSTANTIATE_TEST_SUITE_P(Problems, EmbeddingTest,
                         ::testing::Combine(::testing::ValuesIn(kProblems),
                                            ::testing::Values(DType::kF32, DType::kBF16), ::testing::Bool()));

TEST(Embedding, UntouchedRowsKeepTheirBits) {
  CpuContext cpu(2);
  const Tensor tokens = cpu.context.empty({1, 4}, DType::kI32);
  const int32_t values[] = {5, 2, 5, 5};
  std::copy(values, values + 4, tokens.data<int32_t>());
  std::vector<double> ones(4 * 3, 1.0);
  std::vector<double> zeros(8 * 3, -0.0);
  const Tensor d_out = testing::to_tensor(cpu, ones, {1, 4, 3}, DType::kF32);
  const Tensor d_token = testing::to_tensor(cpu, zeros, {8, 3}, DType::kF32);
  const Tensor d_position = testing::to_tensor(cpu, zeros, {8, 3}, DType::kF32);
  embedding_backward(cpu, tokens, {}, d_out, d_token, d_position);
  for (int64_t v = 0; v < 8; ++v) {
    const float count = v == 5 ? 3.0f : v == 2 ? 1.0f : 0.0f;
    for (int64_t c = 0; c < 3; ++c) {
      EXPECT_EQ(d_token.data<float>()[v * 3 + c], count);
      EXPECT_EQ(std::signbit(d_token.data<float>()[v * 3 + c]), v != 5 && v != 2);
      EXPECT_EQ(d_position.data<float>()[v * 3 + c], v < 4 ? 1.0f : 0.0f);
    }
  }
}

// Without dropout and with it, forward is linear in the tables, so that its gradient is its adjoint: <d_out, F(tables)>
// = <F'(d_out), tables>. Neither side is our reference's.
TEST(Embedding, BackwardIsTheAdjointOfForward) {
  for (const EmbeddingProblem& p : kProblems) {
    for (const Dropout& dropout : {Dropout{}, kEmbeddingDropout}) {
      CpuContext cpu(2);
      const Tensor tokens = make_tokens(cpu, p, 3);
      const Shape shape{p.batch, p.length, p.width};
      std::vector<double> token_values = testing::random_values(p.vocabulary * p.width, 1);
      std::vector<double> position_values = testing::random_values(p.length * p.width, 2);
      std::vector<double> gradient = testing::random_values(p.batch * p.length * p.width, 4);
      const Tensor out = cpu.context.empty(shape, DType::kF32);
      embedding_forward(cpu, tokens, testing::to_tensor(cpu, token_values, {p.vocabulary, p.width}, DType::kF32),
                        testing::to_tensor(cpu, position_values, {p.length, p.width}, DType::kF32), 0, dropout, out);
      std::vector<double> zeros(token_values.size(), 0.0);
      const Tensor d_token = testing::to_tensor(cpu, zeros, {p.vocabulary, p.width}, DType::kF32);
      zeros.resize(position_values.size(), 0.0);
      const Tensor d_position = testing::to_tensor(cpu, zeros, {p.length, p.width}, DType::kF32);
      embedding_backward(cpu, tokens, dropout, testing::to_tensor(cpu, gradient, shape, DType::kF32), d_token,
                         d_position);
      const double forward = testing::inner_product(testing::to_doubles(out), gradient);
      const double backward = testing::inner_product(testing::to_doubles(d_token), token_values) +
                              testing::inner_product(testing::to_doubles(d_position), position_values);
      EXPECT_NEAR(forward, backward, 1e-5 * std::sqrt(static_cast<double>(gradient.size())));
    }
  }
}

TEST(Embedding, BitsDoNotDependOnTheThreads) {
  const EmbeddingProblem p{4, 130, 600, 200, 130};
  CpuContext one(1);
  const Tensor tokens = make_tokens(one, p, 8);
  auto gradient = testing::random_values(p.batch * p.length * p.width, 4);
  const Tensor d_out = testing::to_tensor(one, gradient, {p.batch, p.length, p.width}, DType::kF32);
  std::vector<Tensor> results;
  for (const int threads : {1, 2, 3, 4, 8}) {
    CpuContext cpu(threads);
    std::vector<double> zeros(static_cast<size_t>(p.vocabulary * p.width), 0.0);
    const Tensor d_token = testing::to_tensor(cpu, zeros, {p.vocabulary, p.width}, DType::kF32);
    zeros.resize(static_cast<size_t>(p.positions * p.width), 0.0);
    const Tensor d_position = testing::to_tensor(cpu, zeros, {p.positions, p.width}, DType::kF32);
    embedding_backward(cpu, tokens, kEmbeddingDropout, d_out, d_token, d_position);
    const Tensor out = cpu.context.empty(d_out.shape(), DType::kBF16);
    std::vector<double> table = testing::random_values(p.vocabulary * p.width, 2);
    const Tensor tables = testing::to_tensor(cpu, table, {p.vocabulary, p.width}, DType::kBF16);
    embedding_forward(cpu, tokens, tables, tables, 1, kEmbeddingDropout, out);
    for (const Tensor& tensor : {d_token, d_position, out}) results.push_back(tensor);
  }
  for (size_t i = 3; i < results.size(); ++i) EXPECT_TRUE(testing::same_bits(results[i], results[i % 3])) << i;
}

TEST(Embedding, MetaAllocatesTheSameAndComputesNothing) {
  ThreadPool pool(1);
  PlanningMemory planning;
  const Context meta(Device{.meta = true}, pool, planning);
  const auto step = [](const Context& context) {
    const Tensor tokens = context.empty({2, 8}, DType::kI32);
    const Tensor d_out = context.empty({2, 8, 16}, DType::kF32);
    const Tensor d_token = context.empty({10, 16}, DType::kF32);
    const Tensor d_position = context.empty({8, 16}, DType::kF32);
    if (!context.meta()) {
      std::fill_n(tokens.data<int32_t>(), 16, 3);
      for (const Tensor& x : {d_out, d_token, d_position}) std::fill_n(x.data<float>(), x.elements(), 1.0f);
    }
    embedding_backward(context, tokens, {}, d_out, d_token, d_position);
  };
  step(meta);
  StaticArena arena(plan_arena(planning.lifetimes()));  // CHECKs every allocation against the plan
  step(Context(Device{}, pool, arena));
  arena.restart();
  EXPECT_EQ(planning.lifetimes().size(), 6u);
}

}  // namespace
}  // namespace tsugi
