// Inputs of the contrastive operators' tests.
#pragma once

#include "ops/info_nce/info_nce.h"
#include "ops/triplet/triplet.h"
#include "tests/ops/testing.h"

namespace tsugi::testing {

/// The generator of tests/golden/make_contrastive.py.
inline std::vector<double> lcg_values(uint64_t seed, int64_t count) {
  std::vector<double> values(static_cast<size_t>(count));
  for (double& value : values) {
    seed = 6364136223846793005u * seed + 1442695040888963407u;
    value = static_cast<double>(seed >> 11) * 0x1p-53 * 2.0 - 1.0;
  }
  return values;
}

inline Tensor integers(const Context& context, const std::vector<int32_t>& values) {
  Tensor tensor = context.empty({static_cast<int64_t>(values.size())}, DType::kI32);
  std::copy(values.begin(), values.end(), tensor.data<int32_t>());
  return tensor;
}

/// Queries, keys and who belongs to whom, in double and as tensors.
struct InfoNceProblem {
  reference::InfoNce shape;
  std::vector<double> queries, keys;
  std::vector<int32_t> positives, query_groups, key_groups;
  std::vector<int32_t> query_classes = {}, key_classes = {}, positive_counts = {};  ///< empty: one positive

  /// Two views of `images` images, view by view: the positive of row i is row i ± images.
  static InfoNceProblem two_views(std::vector<double> z, int64_t images, int64_t width, double temperature) {
    InfoNceProblem p;
    p.shape = {2 * images, 2 * images, width, temperature};
    p.queries = z;
    p.keys = std::move(z);
    for (int64_t i = 0; i < 2 * images; ++i) {
      p.positives.push_back(static_cast<int32_t>((i + images) % (2 * images)));
      p.query_groups.push_back(static_cast<int32_t>(i % images));
    }
    p.key_groups = p.query_groups;
    return p;
  }

  InfoNce tensors(const Context& context) {
    return {to_tensor(context, queries, {shape.queries, shape.width}, DType::kF32),
            to_tensor(context, keys, {shape.keys, shape.width}, DType::kF32),
            integers(context, positives),
            integers(context, query_groups),
            integers(context, key_groups),
            static_cast<float>(shape.temperature),
            query_classes.empty() ? Tensor() : integers(context, query_classes),
            key_classes.empty() ? Tensor() : integers(context, key_classes),
            positive_counts.empty() ? Tensor() : integers(context, positive_counts)};
  }

  InfoNceSum run_reference(std::span<double> d_queries = {}, std::span<double> d_keys = {}) const {
    return reference::info_nce(shape, queries, keys, positives, query_groups, key_groups, d_queries, d_keys,
                               query_classes, key_classes);
  }
  InfoNceSum run_triplet_reference(TripletForm form, double margin, std::span<double> d_queries = {},
                                   std::span<double> d_keys = {}) const {
    return reference::triplet(shape, form, margin, queries, keys, positives, query_groups, key_groups, d_queries,
                              d_keys);
  }

  /// Keys of the query's class are positives too: counts them.
  void count_positives() {
    positive_counts.clear();
    for (size_t i = 0; i < positives.size(); ++i) {
      int32_t count = 0;
      for (size_t j = 0; j < key_groups.size(); ++j) {
        const bool out = key_groups[j] == kNoGroup || key_groups[j] == query_groups[i];
        count += static_cast<int32_t>(j) == positives[i] || (!out && key_classes[j] == query_classes[i]);
      }
      positive_counts.push_back(count);
    }
  }
};

}  // namespace tsugi::testing
