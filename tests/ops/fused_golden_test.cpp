// What is fused with dropout or a residual branch, held against PyTorch, which was given the mask of dropped elements
// (tests/golden/make_fused_ops.py computes it by itself): a mask at the wrong place, a missing factor or a mask of
// backward that is not forward's shows here, and not as one more wrong number of our own.
#include "ops/attention/attention.h"
#include "ops/dropout/dropout.h"
#include "ops/embedding/embedding.h"
#include "ops/gather_rows/gather_rows.h"
#include "ops/norm/norm.h"
#include "ops/normalize_rows/normalize_rows.h"
#include "ops/reduce/reduce.h"
#include "tests/ops/attention_testing.h"
#include "tests/ops/golden.h"
#include "tests/ops/testing.h"

namespace tsugi {
namespace {

using testing::expect_close;
using testing::to_tensor;

constexpr float kFusedEpsilon = 0x1p-17f;

class FusedGolden : public ::testing::Test {
 protected:
  const std::vector<double>& values(const std::string& name) const { return golden_.at(name); }
  Tensor load(const std::string& name, Shape shape) const {
    std::vector<double> copy = golden_.at(name);
    EXPECT_EQ(std::ssize(copy), shape.elements()) << name;
    return to_tensor(cpu_, copy, shape, DType::kF32);
  }
  Tensor load_indices(const std::string& name, Shape shape) const {
    const Tensor indices = context().empty(shape, DType::kI32);
    const std::vector<double>& from = golden_.at(name);
    for (size_t i = 0; i < from.size(); ++i) indices.data<int32_t>()[i] = static_cast<int32_t>(from[i]);
    return indices;
  }
  Tensor empty(Shape shape) const { return context().empty(shape, DType::kF32); }
  Tensor zeros(Shape shape) const {
    const Tensor tensor = empty(shape);
    fill_zero(cpu_, tensor);
    return tensor;
  }
  Dropout dropout() const {
    return {.p = static_cast<float>(values("dropout.p")[0]),
            .seed = static_cast<uint64_t>(values("dropout.seed")[0]),
            .first_sample = static_cast<uint64_t>(values("dropout.first_sample")[0]),
            .site = static_cast<uint32_t>(values("dropout.site")[0])};
  }
  const Context& context() const { return cpu_.context; }

  const Shape shape_{2, 5, 6};

 private:
  testing::CpuContext cpu_{2};
  const testing::Golden golden_ = testing::read_golden("fused_ops.txt");
};

TEST_F(FusedGolden, Dropout) {
  const Tensor out = empty(shape_);
  apply_dropout(context(), dropout(), load("dropout.x", shape_), out);
  expect_close(out, values("dropout.out"), 1e-7);
  apply_dropout(context(), dropout(), load("dropout.d_out", shape_), out);
  expect_close(out, values("dropout.d_x"), 1e-7);
}

TEST_F(FusedGolden, Embedding) {
  const Tensor ids = load_indices("embedding.ids", {2, 5});
  const Tensor out = empty(shape_);
  embedding_forward(context(), ids, load("embedding.token_table", {7, 6}), load("embedding.position_table", {8, 6}), 0,
                    dropout(), out);
  expect_close(out, values("embedding.out"), 2e-7);
  const Tensor d_token_table = zeros({7, 6});
  const Tensor d_position_table = zeros({8, 6});
  embedding_backward(context(), ids, dropout(), load("embedding.d_out", shape_), d_token_table, d_position_table);
  expect_close(d_token_table, values("embedding.d_token_table"), 3e-7);
  expect_close(d_position_table, values("embedding.d_position_table"), 3e-7);
}

TEST_F(FusedGolden, LayerNormBehindItsResidualBranch) {
  const Tensor gamma = load("layer_norm.gamma", {6});
  const Tensor residual = empty(shape_), normed = empty(shape_), mean = empty({10}), rstd = empty({10});
  residual_layer_norm_forward(context(), load("layer_norm.x", shape_), load("layer_norm.branch", shape_), dropout(),
                              gamma, load("layer_norm.beta", {6}), kFusedEpsilon, residual, normed, mean, rstd);
  expect_close(residual, values("layer_norm.residual"), 2e-7);
  expect_close(normed, values("layer_norm.normed"), 1e-6);
  const Tensor d_x = load("layer_norm.d_residual", shape_);
  const Tensor d_branch = empty(shape_), d_gamma = zeros({6}), d_beta = zeros({6});
  residual_layer_norm_backward(context(), residual, gamma, mean, rstd, load("layer_norm.d_normed", shape_), dropout(),
                               true, d_x, d_branch, d_gamma, d_beta);
  expect_close(d_x, values("layer_norm.d_x"), 2e-6);
  expect_close(d_branch, values("layer_norm.d_branch"), 2e-6);
  expect_close(d_gamma, values("layer_norm.d_gamma"), 1e-6);
  expect_close(d_beta, values("layer_norm.d_beta"), 1e-6);
}

TEST_F(FusedGolden, RmsNormBehindItsResidualBranch) {
  const Tensor gamma = load("rms_norm.gamma", {6});
  const Tensor residual = empty(shape_), normed = empty(shape_), rstd = empty({10});
  residual_rms_norm_forward(context(), load("rms_norm.x", shape_), load("rms_norm.branch", shape_), dropout(), gamma,
                            kFusedEpsilon, residual, normed, rstd);
  expect_close(residual, values("rms_norm.residual"), 2e-7);
  expect_close(normed, values("rms_norm.normed"), 1e-6);
  const Tensor d_x = load("rms_norm.d_residual", shape_);
  const Tensor d_branch = empty(shape_), d_gamma = zeros({6});
  residual_rms_norm_backward(context(), residual, gamma, rstd, load("rms_norm.d_normed", shape_), dropout(), true, d_x,
                             d_branch, d_gamma);
  expect_close(d_x, values("rms_norm.d_x"), 2e-6);
  expect_close(d_branch, values("rms_norm.d_branch"), 2e-6);
  expect_close(d_gamma, values("rms_norm.d_gamma"), 1e-6);
}

TEST_F(FusedGolden, AttentionWithDroppedProbabilities) {
  const auto size = [&](size_t i) { return static_cast<int64_t>(values("attention.shape")[i]); };
  AttentionShape shape = testing::make_shape(size(0), size(1), size(1), size(2), size(4));
  shape.key_heads = size(3);
  const testing::Inputs inputs{values("attention.q"), values("attention.k"), values("attention.v"),
                               values("attention.d_out")};
  const testing::Results reference = testing::run_reference(shape, inputs, dropout());
  const testing::Results actual = testing::run(context(), shape, inputs, dropout(), testing::Layout::kPacked);
  const std::pair<const char*, std::vector<double> testing::Results::*> arrays[] = {{"out", &testing::Results::out},
                                                                                    {"dq", &testing::Results::dq},
                                                                                    {"dk", &testing::Results::dk},
                                                                                    {"dv", &testing::Results::dv}};
  for (const auto& [name, array] : arrays) {
    const std::vector<double>& expected = values(std::string("attention.") + name);
    EXPECT_LE(testing::max_difference(reference.*array, expected), 1e-13) << name;
    EXPECT_LE(testing::max_difference(actual.*array, expected), 2e-6) << name;
  }
}

TEST_F(FusedGolden, GatheredRowsWithRepetition) {
  const Tensor indices = load_indices("gather_rows.indices", {5});
  const Tensor out = empty({5, 6}), d_x = empty({5, 6});
  gather_rows(context(), load("gather_rows.x", {5, 6}), indices, out);
  expect_close(out, values("gather_rows.out"), 0.0);
  gather_rows_backward(context(), indices, load("gather_rows.d_out", {5, 6}), d_x);
  expect_close(d_x, values("gather_rows.d_x"), 2e-7);
}

TEST_F(FusedGolden, RowsOfLengthOne) {
  const Tensor out = empty({3, 6}), d_x = empty({3, 6});
  const Tensor scales = context().empty({3}, DType::kF64);
  normalize_rows(context(), load("normalize_rows.x", {3, 6}), out, scales);
  expect_close(out, values("normalize_rows.out"), 2e-7);
  normalize_rows_backward(context(), out, scales, load("normalize_rows.d_out", {3, 6}), d_x);
  expect_close(d_x, values("normalize_rows.d_x"), 5e-7);
}

}  // namespace
}  // namespace tsugi
