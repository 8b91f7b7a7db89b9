// Attention with grouped queries, windows, intervals and without causality, against the double reference.
#include <sstream>

#include "tests/ops/attention_testing.h"
#include "tests/ops/golden.h"

namespace tsugi {
namespace {

using testing::Arrays;
using testing::CpuContext;
using testing::Inputs;
using testing::Layout;
using testing::make_inputs;
using testing::make_shape;
using testing::max_abs;
using testing::max_difference;
using testing::Results;
using testing::run;
using testing::run_plain_bf16;
using testing::run_reference;

const Dropout kDropout{.p = 0.25f, .seed = 77, .first_sample = 3, .site = 5};

/// i32 [batch, query_tokens].
Tensor bounds(const Context& context, const AttentionShape& shape, auto&& bound) {
  const Tensor keys = context.empty({shape.batch, shape.query_tokens}, DType::kI32);
  for (int64_t b = 0; b < shape.batch; ++b) {
    for (int64_t i = 0; i < shape.query_tokens; ++i) {
      keys.data<int32_t>()[b * shape.query_tokens + i] = static_cast<int32_t>(bound(b, i));
    }
  }
  return keys;
}

/// Documents of uneven lengths, other ones in every sample; returns the first token of the one that holds `token`.
int64_t document_start(int64_t batch, int64_t token) {
  int64_t start = 0;
  for (int64_t length = 3 + 5 * batch; start + length <= token; length = length * 7 % 113 + 1) start += length;
  return start;
}

enum class Mask { kGroups, kBidirectional, kWindow, kShortWindow, kBidirectionalWindow, kDocuments, kPadding, kMixed };
constexpr Mask kMasks[] = {
    Mask::kGroups,    Mask::kBidirectional, Mask::kWindow, Mask::kShortWindow, Mask::kBidirectionalWindow,
    Mask::kDocuments, Mask::kPadding,       Mask::kMixed};

struct Sizes {
  int64_t batch, query_tokens, key_tokens, heads, key_heads, head_dim;
};
constexpr Sizes kSizes[] = {
    {1, 1, 1, 2, 1, 8},    {2, 3, 5, 4, 2, 24},     {2, 65, 65, 4, 2, 16},
    {1, 63, 129, 3, 1, 8}, {2, 113, 303, 2, 2, 40}, {1, 260, 260, 4, 1, 32},
    {2, 1, 77, 6, 2, 20},  {1, 129, 513, 2, 1, 17}, {2, 1, 2100, 4, 2, 8},
};

/// `mask` on these sizes. Half of the cases have some rows that see nothing.
AttentionShape masked(const Context& context, const Sizes& s, DType dtype, Mask mask) {
  AttentionShape shape = make_shape(s.batch, s.query_tokens, s.key_tokens, s.heads, s.head_dim, dtype);
  shape.key_heads = s.key_heads;
  const int64_t past = s.key_tokens - s.query_tokens;
  switch (mask) {
    case Mask::kGroups:
      break;
    case Mask::kBidirectional:
      shape.causal = false;
      break;
    case Mask::kWindow:
      shape.window = 70;
      break;
    case Mask::kShortWindow:
      shape.window = 1;
      break;
    case Mask::kBidirectionalWindow:
      shape.causal = false;
      shape.window = 19;
      break;
    case Mask::kDocuments:
      shape.first_key = bounds(context, shape, [&](int64_t b, int64_t i) { return document_start(b, i + past); });
      break;
    case Mask::kPadding:  // the last sample has no key at all
      shape.causal = false;
      shape.end_key = bounds(context, shape, [&](int64_t b, int64_t) {
        return b == s.batch - 1 && s.batch > 1 ? -5 : 1 + (s.key_tokens - 1) * 2 / 3;
      });
      break;
    case Mask::kMixed:  // far out of range on purpose; every fifth query sees nothing
      shape.window = 150;
      shape.first_key = bounds(context, shape, [&](int64_t b, int64_t i) { return document_start(b, i + past) - 2; });
      shape.end_key = bounds(context, shape, [&](int64_t, int64_t i) { return i % 5 == 3 ? 0 : 1 << 30; });
      break;
  }
  return shape;
}

class MaskTest : public ::testing::TestWithParam<std::tuple<Sizes, Mask, DType, bool>> {
 protected:
  MaskTest() : shape(masked(cpu, std::get<0>(GetParam()), std::get<2>(GetParam()), std::get<1>(GetParam()))) {}
  Dropout dropout() const { return std::get<3>(GetParam()) ? kDropout : Dropout{}; }
  CpuContext cpu{2};
  AttentionShape shape;
};

TEST_P(MaskTest, EqualsTheReference) {
  const Inputs inputs = make_inputs(shape, 1);
  const Results expected = run_reference(shape, inputs, dropout());
  const Results actual = run(cpu, shape, inputs, dropout());
  const bool f32 = shape.dtype == DType::kF32;
  const Results plain = f32 ? Results{} : run_plain_bf16(shape, inputs, dropout());
  const double unit = f32 ? 1e-6 : 1.0 / 256.0;
  // Where most queries see one key the gradients of the scores are nothing but the rounding of differences.
  const double vanishing = unit * max_abs(inputs.d_out) * max_abs(inputs.v) * max_abs(inputs.k);
  const auto expect_right = [&](std::vector<double> Results::* array, double absolute, const char* what) {
    const double bound = f32 ? 2e-6 * max_abs(expected.*array)
                             : 2.0 * max_difference(plain.*array, expected.*array) + unit * max_abs(expected.*array);
    EXPECT_LE(max_difference(actual.*array, expected.*array), bound + absolute) << what;
  };
  expect_right(&Results::out, 0.0, "out");
  expect_right(&Results::dq, vanishing, "dq");
  expect_right(&Results::dk, vanishing, "dk");
  expect_right(&Results::dv, 0.0, "dv");
}

TEST_P(MaskTest, ThreadsDoNotChangeBits) {
  const Inputs inputs = make_inputs(shape, 3);
  CpuContext one(1);
  const Results expected = run(one, shape, inputs, dropout());
  for (const int threads : {2, 3, 8}) {
    CpuContext many(threads);
    const Results actual = run(many, shape, inputs, dropout());
    for (const auto array : {&Results::out, &Results::log_sum_exp, &Results::dq, &Results::dk, &Results::dv}) {
      const std::vector<double>& a = actual.*array;
      const std::vector<double>& b = expected.*array;
      EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(double)), 0) << threads << " threads";
    }
  }
}

std::string name_of_case(const ::testing::TestParamInfo<MaskTest::ParamType>& test) {
  const char* const kNames[] = {"Groups",    "Bidirectional", "Window", "ShortWindow", "BidirectionalWindow",
                                "Documents", "Padding",       "Mixed"};
  const auto& [s, mask, dtype, drops] = test.param;
  std::ostringstream name;
  name << kNames[static_cast<int>(mask)] << 'B' << s.batch << 'Q' << s.query_tokens << 'K' << s.key_tokens << 'H'
       << s.heads << 'G' << s.key_heads << 'D' << s.head_dim << name_of(dtype) << (drops ? "dropout" : "");
  return name.str();
}
INSTANTIATE_TEST_SUITE_P(Sizes, MaskTest,
                         ::testing::Combine(::testing::ValuesIn(kSizes), ::testing::ValuesIn(kMasks),
                                            ::testing::Values(DType::kF32, DType::kBF16), ::testing::Bool()),
                         name_of_case);

TEST(AttentionMask, GradientsOfTheReferenceAreCentralDifferences) {
  CpuContext cpu;
  for (const Mask mask : kMasks) {
    const AttentionShape shape = masked(cpu, {2, 4, 7, 4, 2, 3}, DType::kF32, mask);
    Inputs inputs = make_inputs(shape, 4);
    const Results analytic = run_reference(shape, inputs, kDropout);
    std::vector<double> out(inputs.q.size());
    const auto loss = [&] {
      reference::attention_forward(shape, inputs.q, inputs.k, inputs.v, kDropout, out);
      double sum = 0.0;
      for (size_t i = 0; i < out.size(); ++i) sum += out[i] * inputs.d_out[i];
      return sum;
    };
    const auto check = [&](std::vector<double>& values, const std::vector<double>& gradient) {
      for (size_t i = 0; i < values.size(); ++i) {
        const double saved = values[i];
        constexpr double kStep = 1e-5;
        values[i] = saved + kStep;
        const double above = loss();
        values[i] = saved - kStep;
        const double below = loss();
        values[i] = saved;
        ASSERT_NEAR((above - below) / (2.0 * kStep), gradient[i], 1e-8) << static_cast<int>(mask) << " at " << i;
      }
    };
    check(inputs.q, analytic.dq);
    check(inputs.k, analytic.dk);
    check(inputs.v, analytic.dv);
  }
}

/// Rows [begin, end) of the tokens of a contiguous [1, tokens, row] array.
std::vector<double> tokens_of(const std::vector<double>& values, int64_t row, int64_t begin, int64_t end) {
  return {values.begin() + begin * row, values.begin() + end * row};
}

TEST(AttentionMask, PackedDocumentsAreLikeDocumentsAlone) {
  CpuContext cpu(2);
  AttentionShape packed = make_shape(1, 300, 300, 4, 16);
  packed.key_heads = 2;
  packed.first_key = bounds(cpu, packed, [](int64_t, int64_t i) { return document_start(9, i); });
  const Inputs inputs = make_inputs(packed, 11);
  const Results together = run(cpu, packed, inputs);
  for (int64_t begin = 0; begin < 300;) {
    int64_t end = begin + 1;
    while (end < 300 && document_start(9, end) == begin) ++end;
    AttentionShape alone = make_shape(1, end - begin, end - begin, 4, 16);
    alone.key_heads = 2;
    const Results single = run(cpu, alone,
                               {tokens_of(inputs.q, 64, begin, end), tokens_of(inputs.k, 32, begin, end),
                                tokens_of(inputs.v, 32, begin, end), tokens_of(inputs.d_out, 64, begin, end)});
    EXPECT_LE(max_difference(single.out, tokens_of(together.out, 64, begin, end)), 2e-6);
    EXPECT_LE(max_difference(single.dq, tokens_of(together.dq, 64, begin, end)), 5e-6);
    EXPECT_LE(max_difference(single.dk, tokens_of(together.dk, 32, begin, end)), 5e-6);
    EXPECT_LE(max_difference(single.dv, tokens_of(together.dv, 32, begin, end)), 5e-6);
    begin = end;
  }
}

TEST(AttentionMask, BoundsThatBindNothingChangeNoBit) {
  CpuContext cpu(2);
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const Dropout& dropout : {kDropout, Dropout{}}) {
      const AttentionShape plain = make_shape(2, 150, 200, 2, 24, dtype);
      const Inputs inputs = make_inputs(plain, 12);
      const Results expected = run(cpu, plain, inputs, dropout);
      AttentionShape loose = plain;
      loose.key_heads = 2;
      loose.window = int64_t{1} << 62;
      loose.first_key = bounds(cpu, loose, [](int64_t, int64_t) { return -7; });
      loose.end_key = bounds(cpu, loose, [](int64_t, int64_t) { return 1 << 30; });
      const Results actual = run(cpu, loose, inputs, dropout);
      EXPECT_EQ(actual.out, expected.out);
      EXPECT_EQ(actual.log_sum_exp, expected.log_sum_exp);
      EXPECT_EQ(actual.dq, expected.dq);
      EXPECT_EQ(actual.dk, expected.dk);
      EXPECT_EQ(actual.dv, expected.dv);
    }
  }
}

TEST(AttentionMask, GroupsAreRepeatedKeyHeads) {
  CpuContext cpu(2);
  AttentionShape grouped = make_shape(2, 140, 140, 6, 16);
  grouped.key_heads = 2;
  const AttentionShape full = make_shape(2, 140, 140, 6, 16);
  const Inputs inputs = make_inputs(grouped, 13);
  Inputs repeated = make_inputs(full, 13);
  repeated.q = inputs.q;
  repeated.d_out = inputs.d_out;
  for (size_t row = 0; row < 280; ++row) {
    for (size_t column = 0; column < 96; ++column) {
      const size_t from = row * 32 + column / 48 * 16 + column % 16;
      repeated.k[row * 96 + column] = inputs.k[from];
      repeated.v[row * 96 + column] = inputs.v[from];
    }
  }
  const Results a = run(cpu, grouped, inputs, kDropout, Layout::kPacked);
  const Results b = run(cpu, full, repeated, kDropout, Layout::kPacked);
  EXPECT_EQ(a.out, b.out);
  EXPECT_EQ(a.dq, b.dq);
  for (const auto array : {&Results::dk, &Results::dv}) {
    std::vector<double> sums(inputs.k.size());
    for (size_t i = 0; i < b.dk.size(); ++i) sums[i / 96 * 32 + i % 96 / 48 * 16 + i % 16] += (b.*array)[i];
    EXPECT_LE(max_difference(a.*array, sums), 2e-6 * max_abs(sums));
  }
}

TEST(AttentionMask, QueriesThatSeeNothingGiveZeros) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    CpuContext cpu(2);
    AttentionShape shape = make_shape(1, 130, 130, 2, 8, dtype);
    shape.end_key = bounds(cpu, shape, [](int64_t, int64_t i) { return i < 70 ? 0 : 130; });
    shape.first_key = bounds(cpu, shape, [](int64_t, int64_t) { return 40; });
    const Results results = run(cpu, shape, make_inputs(shape, 14));
    for (size_t i = 0; i < size_t{70} * 16; ++i) EXPECT_TRUE(results.out[i] == 0.0 && results.dq[i] == 0.0) << i;
    for (size_t i = 0; i < size_t{40} * 16; ++i) EXPECT_TRUE(results.dk[i] == 0.0 && results.dv[i] == 0.0) << i;
    EXPECT_EQ(results.log_sum_exp[69], -std::numeric_limits<double>::infinity());
    EXPECT_TRUE(std::isfinite(results.log_sum_exp[70]));
  }
}

TEST(AttentionMask, DecodingOverALongCacheIsTheLastRowOfTheWhole) {
  CpuContext cpu(3);
  for (const int64_t keys : {1024, 1025, 3000}) {
    for (const int64_t window : {0, 1500}) {
      AttentionShape last = make_shape(1, 1, keys, 4, 16);
      last.key_heads = 2;
      last.window = window;
      const Inputs inputs = make_inputs(last, 15);
      const Results expected = run_reference(last, inputs);
      Arrays arrays(cpu, last, Layout::kCache);
      arrays.write(0, inputs.q);
      arrays.write(1, inputs.k);
      arrays.write(2, inputs.v);
      const Tensor out = cpu.context.empty({1, 1, 64}, DType::kF32);
      attention_forward(cpu, last, arrays[0], arrays[1], arrays[2], {}, out, Tensor());
      testing::expect_close(out, expected.out, 2e-6);
    }
  }
}

TEST(AttentionMask, GoldenOfPyTorch) {
  const testing::Golden golden = testing::read_golden("attention_masks.txt");
  const auto size = [&](size_t i) { return static_cast<int64_t>(golden.at("shape")[i]); };
  CpuContext cpu;
  for (const std::string name : {"window", "documents", "cross"}) {
    const bool cross = name == "cross";
    AttentionShape shape = make_shape(size(0), size(1), cross ? size(2) : size(1), size(3), size(5));
    shape.key_heads = size(4);
    shape.causal = !cross;
    if (name == "window") shape.window = static_cast<int64_t>(golden.at("window")[0]);
    const std::string which = cross ? "end_key" : "first_key";
    if (name != "window") {
      const std::vector<double>& keys = golden.at(which);
      (cross ? shape.end_key : shape.first_key) = bounds(
          cpu, shape, [&](int64_t b, int64_t i) { return static_cast<int64_t>(keys[b * shape.query_tokens + i]); });
    }
    const Inputs inputs{golden.at("q"), golden.at(cross ? "cross.k" : "k"), golden.at(cross ? "cross.v" : "v"),
                        golden.at("d_out")};
    const Results reference = run_reference(shape, inputs);
    const Results actual = run(cpu, shape, inputs);
    const std::pair<const char*, std::vector<double> Results::*> arrays[] = {
        {".out", &Results::out}, {".dq", &Results::dq}, {".dk", &Results::dk}, {".dv", &Results::dv}};
    for (const auto& [array_name, array] : arrays) {
      const std::vector<double>& expected = golden.at(name + array_name);
      EXPECT_LE(max_difference(reference.*array, expected), 1e-13 * max_abs(expected)) << name << array_name;
      EXPECT_LE(max_difference(actual.*array, expected), 1e-6 * max_abs(expected)) << name << array_name;
    }
  }
}

TEST(AttentionMaskDeathTest, ShapesAreChecked) {
  CpuContext cpu;
  const Tensor out = cpu.context.empty({1, 4, 24}, DType::kF32);
  const HeadsView view{out.raw(), 96, 24, 8};
  AttentionShape shape = make_shape(1, 4, 4, 3, 8);
  const auto forward = [&] { attention_forward(cpu, shape, view, view, view, {}, out, Tensor()); };
  shape.key_heads = 2;
  EXPECT_DEATH(forward(), "serves as many");
  shape.key_heads = 1;
  shape.first_key = cpu.context.empty({4, 1}, DType::kI32);
  EXPECT_DEATH(forward(), "bound.shape");
}

}  // namespace
}  // namespace tsugi
