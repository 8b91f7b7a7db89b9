// Kernels of models and objectives of pictures: their tokens, squared errors, unit rows, comparisons of features. All
// are bound by memory.
#include <algorithm>

#include "benchmarks/kernels/cases.h"
#include "ops/image_tokens/image_tokens_cuda.h"
#include "ops/info_nce/info_nce_cuda.h"
#include "ops/normalize_rows/normalize_rows_cuda.h"
#include "ops/part_bounds/part_bounds_cuda.h"
#include "ops/replaced_tokens/replaced_tokens_cuda.h"
#include "ops/squared_error/squared_error_cuda.h"
#include "ops/top1/top1_cuda.h"
#include "ops/triplet/triplet_cuda.h"

namespace tsugi::benchmarks {
namespace {

constexpr DType kType = DType::kBF16;

void tokens_forward(Maker& maker, const cuda::ImageTokensShape& shape) {
  const int64_t count = shape.batch * shape.tokens * shape.width;
  const void* const patches = maker.random(count - shape.batch * shape.width, kType);
  const void* const class_token = maker.random(shape.width, kType);
  const void* const positions = maker.random(shape.tokens * shape.width, kType);
  void* const out = maker.empty(count, kType);
  maker.work.run = [=](cuda::Stream& stream) {
    cuda::image_tokens(stream, shape, patches, class_token, positions, out);
  };
  maker.result(out, count, kType);
}

void tokens_backward(Maker& maker, const cuda::ImageTokensShape& shape) {
  const int64_t count = shape.batch * shape.tokens * shape.width, places = shape.tokens * shape.width;
  const void* const d_out = maker.random(count, kType);
  void* const d_patches = maker.empty(count - shape.batch * shape.width, kType);
  auto* const d_class_token = static_cast<float*>(maker.zeros(shape.width, DType::kF32));
  auto* const d_positions = static_cast<float*>(maker.zeros(places, DType::kF32));
  maker.work.reset = [=](cuda::Stream& stream) {
    stream.fill(d_class_token, 0, static_cast<size_t>(shape.width) * sizeof(float));
    stream.fill(d_positions, 0, static_cast<size_t>(places) * sizeof(float));
  };
  maker.work.run = [=](cuda::Stream& stream) {
    cuda::image_tokens_backward(stream, shape, d_out, d_patches, d_class_token, d_positions);
  };
  maker.result(d_patches, count - shape.batch * shape.width, kType);
  maker.result(d_positions, places, DType::kF32);
}

void mean_of_patches(Maker& maker, const cuda::ImageTokensShape& shape) {
  const void* const x = maker.random(shape.batch * shape.tokens * shape.width, kType);
  void* const out = maker.empty(shape.batch * shape.width, kType);
  maker.work.run = [=](cuda::Stream& stream) { cuda::mean_of_patches(stream, shape, x, out); };
  maker.result(out, shape.batch * shape.width, kType);
}

void squared_error(Maker& maker, const cuda::SquaredErrorShape& shape) {
  const int64_t count = shape.rows * shape.width;
  const void* const x = maker.random(count, kType);
  const auto* const targets = static_cast<float*>(maker.random(shape.target_rows * shape.width, DType::kF32));
  const int32_t* const indices = maker.integers(shape.rows, shape.target_rows);
  auto* const errors = static_cast<double*>(maker.empty(shape.rows, DType::kF64));
  void* const d_x = maker.empty(count, kType);
  maker.work.run = [=](cuda::Stream& stream) { cuda::squared_error(stream, shape, x, targets, indices, errors, d_x); };
  maker.result(errors, shape.rows, DType::kF64);
  maker.result(d_x, count, kType);
}

void unit_rows(Maker& maker, int64_t rows, int64_t width) {
  const void* const x = maker.random(rows * width, kType);
  auto* const out = static_cast<float*>(maker.empty(rows * width, DType::kF32));
  auto* const scales = static_cast<double*>(maker.empty(rows, DType::kF64));
  maker.work.run = [=](cuda::Stream& stream) {
    cuda::normalize_rows(stream, kType, x, rows, width, 1e-12, out, scales);
  };
  maker.result(out, rows * width, DType::kF32);
}

/// Products of `rows` queries with `keys` keys, and who belongs to whom.
struct Pairs {
  Pairs(Maker& maker, int64_t rows, int64_t keys)
      : scores(static_cast<float*>(maker.random(rows * keys, DType::kF32))),
        positives(maker.integers(rows, keys)),
        query_groups(maker.integers(rows, keys)),
        key_groups(maker.integers(keys, keys)),
        losses(static_cast<double*>(maker.zeros(rows, DType::kF64))),
        facts(static_cast<double*>(maker.zeros(std::max(3 * rows, keys), DType::kF64))),
        nearest(static_cast<int32_t*>(maker.empty(rows, DType::kI32))) {
    const auto numbers = std::make_shared<Maker>(maker);
    maker.work.reset = [=, to = scores](cuda::Stream& stream) {
      numbers->randomize(stream, to, rows * keys, DType::kF32);
    };
    maker.result(scores, rows * keys, DType::kF32);
    maker.result(losses, rows, DType::kF64);
  }
  float* scores;
  const int32_t *positives, *query_groups, *key_groups;
  double *losses, *facts;
  int32_t* nearest;
};

void add_comparisons(int64_t rows, int64_t keys, std::vector<Case>& cases) {
  const Shape shape{{"rows", rows}, {"keys", keys}};
  const double bytes = 8.0 * static_cast<double>(rows) * static_cast<double>(keys);
  const auto add = [&](const char* name, auto&& run) {
    cases.push_back({name, shape, 0.0, bytes, false, [=](Maker& maker) {
                       const Pairs pairs(maker, rows, keys);
                       maker.work.run = [=](cuda::Stream& stream) { run(stream, pairs); };
                     }});
  };
  add("info_nce_rows", [=](cuda::Stream& stream, const Pairs& p) {
    const cuda::DeviceInfoNce problem{.queries = rows,
                                      .keys = keys,
                                      .positives = p.positives,
                                      .query_groups = p.query_groups,
                                      .key_groups = p.key_groups};
    cuda::info_nce_rows(stream, problem, 0, rows, true, p.scores, p.losses, p.nearest, p.facts);
  });
  add("info_nce_columns", [=](cuda::Stream& stream, const Pairs& p) {  // a key each, of as many queries
    const cuda::DeviceInfoNce problem{.queries = keys,
                                      .keys = rows,
                                      .positives = p.key_groups,
                                      .query_groups = p.key_groups,
                                      .key_groups = p.query_groups};
    cuda::info_nce_columns(stream, problem, 0, rows, p.facts, p.scores);
  });
  add("triplet_rows", [=](cuda::Stream& stream, const Pairs& p) {
    const cuda::DeviceTriplets problem{.queries = rows,
                                       .keys = keys,
                                       .margin = 0.2f,
                                       .positives = p.positives,
                                       .query_groups = p.query_groups,
                                       .key_groups = p.key_groups};
    cuda::triplet_rows(stream, problem, 0, rows, true, p.scores, p.losses, p.nearest, p.facts);
  });
  add("part_rows", [=](cuda::Stream& stream, const Pairs& p) {
    const cuda::DeviceParts problem{.wholes = rows,
                                    .parts = keys,
                                    .whole_ids = p.query_groups,
                                    .part_ids = p.key_groups,
                                    .info_nce = true,
                                    .clip = 10.0f};
    cuda::part_rows(stream, problem, 0, rows, true, p.scores, p.losses, p.nearest, p.facts);
  });
}

}  // namespace

void add_objective_cases(bool tiny, std::vector<Case>& cases) {
  const cuda::ImageTokensShape tokens{
      .type = kType, .batch = tiny ? 3 : 256, .tokens = tiny ? 5 : 197, .width = tiny ? 24 : 768};
  const auto elements = static_cast<double>(tokens.batch * tokens.tokens * tokens.width);
  const Shape shape{{"batch", tokens.batch}, {"tokens", tokens.tokens}, {"width", tokens.width}};
  cases.push_back({"image_tokens_forward", shape, 0.0, 4.0 * elements, false,
                   [=](Maker& maker) { tokens_forward(maker, tokens); }});
  cases.push_back({"image_tokens_backward", shape, 0.0, 4.0 * elements, false,
                   [=](Maker& maker) { tokens_backward(maker, tokens); }});
  cases.push_back(
      {"mean_of_patches", shape, 0.0, 2.0 * elements, false, [=](Maker& maker) { mean_of_patches(maker, tokens); }});
  const int64_t rows = tiny ? 11 : 256 * 147, width = tiny ? 12 : 768;
  const cuda::SquaredErrorShape error{
      .type = kType, .rows = rows, .width = width, .target_rows = rows, .normalize = true, .variance = 1e-6};
  const Shape of_rows{{"rows", rows}, {"width", width}};
  const auto values = static_cast<double>(rows * width);
  cases.push_back({"squared_error", of_rows, 0.0, (4.0 + 2.0 * 2.0) * values, false,
                   [=](Maker& maker) { squared_error(maker, error); }});
  cases.push_back({"normalize_rows", of_rows, 0.0, (2.0 + 4.0) * values, false,
                   [=](Maker& maker) { unit_rows(maker, rows, width); }});
  const int64_t drawn = tiny ? 5 : 2048, vocabulary = tiny ? 64 : 32768;
  cases.push_back({"draw_rows",
                   {{"rows", drawn}, {"vocabulary", vocabulary}},
                   0.0,
                   4.0 * static_cast<double>(drawn * vocabulary),
                   false,
                   [=](Maker& maker) {
                     const auto* const scores = static_cast<float*>(maker.random(drawn * vocabulary, DType::kF32));
                     auto* const result = static_cast<int32_t*>(maker.empty(drawn, DType::kI32));
                     maker.work.run = [=](cuda::Stream& stream) {
                       cuda::draw_rows(stream, {.rows_per_sample = 16}, scores, drawn, vocabulary, vocabulary, result);
                     };
                     maker.result(result, drawn, DType::kI32);
                   }});
  cases.push_back({"top1",
                   {{"rows", drawn}, {"classes", vocabulary}},
                   0.0,
                   4.0 * static_cast<double>(drawn * vocabulary),
                   false,
                   [=](Maker& maker) {
                     const auto* const scores = static_cast<float*>(maker.random(drawn * vocabulary, DType::kF32));
                     const int32_t* const targets = maker.integers(drawn, vocabulary);
                     auto* const right = static_cast<int32_t*>(maker.empty(drawn, DType::kI32));
                     maker.work.run = [=](cuda::Stream& stream) {
                       cuda::top1(stream, scores, targets, drawn, vocabulary, vocabulary, right);
                     };
                     maker.result(right, drawn, DType::kI32);
                   }});
  add_comparisons(tiny ? 6 : 4096, tiny ? 40 : 8192, cases);
}

}  // namespace tsugi::benchmarks
