// A tiny ViT against Hugging Face transformers in float64: logits, loss, every gradient; published parameter counts.
// Values: tests/golden/make_vit.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/checkpoint/parameter_ranges.h"
#include "core/checkpoint/safetensors.h"
#include "core/data/file.h"
#include "core/data/images/augment.h"
#include "core/model/classifier_head.h"
#include "core/model/huggingface.h"
#include "core/model/transformer.h"
#include "core/scaling/flops.h"
#include "ops/reduce/reduce.h"

namespace tsugi {
namespace {

std::string vit_golden_path(const std::string& name) { return std::string(TSUGI_SOURCE_DIR) + "/tests/golden/" + name; }

class GoldenVit {
 public:
  GoldenVit()
      : text_(read_file(vit_golden_path("vit.safetensors"), 1 << 20)),
        header_(parse_safetensors(text_, static_cast<int64_t>(text_.size()), "vit")),
        description(parse_huggingface_config(read_file(vit_golden_path("vit.json"), 1 << 16), "vit")),
        context(Device{}, pool_, memory_),
        head(store, description.model, 5),
        head_unit_(store.end_unit()),
        model(description.model, store, false) {
    store.allocate(context, DType::kF32);
    fill_zero(context, store.working());
    const std::vector<SavedTensor> tensors = saved_tensors(store);
    for (const StateRange& range : whole_tensors(store)) {
      const SavedTensor& tensor = tensors[static_cast<size_t>(range.tensor)];
      EXPECT_EQ(tensor.shape, header_.tensors.at(tensor.name).shape) << tensor.name;
      const std::vector<float> from = values<float>(tensor.name);
      EXPECT_EQ(static_cast<int64_t>(from.size()), range.length);
      std::ranges::copy(from, range.master);
    }
    // The golden pixels are normalised already: write_patches() does it again.
    const std::vector<float> pixels = values<float>("pixels");
    patches = context.empty({3, 9, 48}, DType::kF32);
    for (int64_t b = 0; b < 3; ++b) {
      std::vector<float> planes(pixels.begin() + b * 432, pixels.begin() + (b + 1) * 432);
      for (float& value : planes) value = 0.5f * value + 0.5f;
      write_patches(planes, 3, 12, 4, patches.data<float>() + b * 432);
    }
    targets_ = values<int32_t>("targets");
    targets = Tensor::view(targets_.data(), {3}, DType::kI32);
  }

  template <class T>
  std::vector<T> values(const std::string& name) const {
    const SafetensorsTensor& tensor = header_.tensors.at(name);
    std::vector<T> result(static_cast<size_t>(tensor.elements));
    std::memcpy(result.data(), text_.data() + tensor.begin, result.size() * sizeof(T));
    return result;
  }

  Variable pooled(Tape& tape, const ForwardOptions& options = {}) const {
    return head.features(tape, model.pooled(tape, model.hidden_of_images(tape, patches, options)));
  }

 private:
  std::string text_;
  SafetensorsHeader header_;
  HeapMemory memory_;
  ThreadPool pool_{2};
  std::vector<int32_t> targets_;

 public:
  HuggingfaceModel description;
  Context context;
  ParameterStore store;
  ClassifierHead head;

 private:
  int head_unit_;

 public:
  Transformer model;
  Tensor patches;
  Tensor targets;
};

TEST(VitGolden, Logits) {
  const GoldenVit golden;
  EXPECT_EQ(golden.description.labels.size(), 5u);
  Tape tape(golden.context, false);
  const Tensor scores = golden.head.scores(golden.context, golden.pooled(tape).value);
  const std::vector<float> theirs = golden.values<float>("logits");
  for (int64_t b = 0; b < 3; ++b) {
    for (int64_t k = 0; k < 5; ++k) {
      EXPECT_NEAR(scores.data<float>()[b * scores.shape()[1] + k], theirs[static_cast<size_t>(b * 5 + k)], 2e-5);
    }
  }
}

TEST(VitGolden, LossAndEveryGradient) {
  GoldenVit golden;
  for (const bool recompute : {false, true}) {
    const Tensor gradients = golden.context.empty({golden.store.chunks() * kChunkElements}, DType::kF32);
    fill_zero(golden.context, gradients);
    golden.store.bind_gradients(gradients);
    Tape tape(golden.context);
    ForwardOptions options;
    options.recompute = recompute;
    const LossSum loss = golden.head.loss(tape, golden.pooled(tape, options), golden.targets);
    tape.backward();
    EXPECT_EQ(loss.count, 3);
    EXPECT_NEAR(loss.sum / 3.0, golden.values<float>("loss")[0], 2e-6);
    int compared = 0;
    for (size_t t = 0; t < golden.store.tensors().size(); ++t) {
      const float* actual = golden.store.gradient(static_cast<int>(t)).data<float>();
      for (const ParameterPart& part : golden.store.tensors()[t].parts) {
        const std::vector<float> expected = golden.values<float>("gradient/" + part.name);
        double largest = 0.1;
        for (const float value : expected) largest = std::max(largest, 3.0 * std::fabs(static_cast<double>(value)));
        for (size_t i = 0; i < expected.size(); ++i) {  // ours is the gradient of the sum
          EXPECT_NEAR(actual[i], 3.0f * expected[i], 3e-5 * largest) << part.name << " " << i;
        }
        actual += expected.size();
        ++compared;
      }
    }
    EXPECT_EQ(compared, 2 * 16 + 4 + 2 + 2);
  }
}

TEST(VitGolden, ConfigIsWrittenAsItWasRead) {
  const HuggingfaceModel once = parse_huggingface_config(read_file(vit_golden_path("vit.json"), 1 << 16), "golden");
  EXPECT_EQ(once.model.context(), 10);
  const std::string written = to_huggingface_config(once);
  const HuggingfaceModel twice = parse_huggingface_config(written, "written");
  EXPECT_EQ(once.model.DebugString(), twice.model.DebugString());
  EXPECT_NE(written.find("ViTForImageClassification"), std::string::npos);
  EXPECT_EQ(written.find("vocab_size"), std::string::npos);
}

// Dosovitskiy et al. 2020, table 1, to the unit: what transformers counts of google/vit-*-patch16-224.
TEST(Vit, ParameterCountsArePublishedOnes) {
  struct Published {
    int layers, heads, width;
    int64_t parameters;
  };
  for (const Published& p :
       {Published{12, 12, 768, 86'567'656}, Published{12, 6, 384, 22'050'664}, Published{24, 16, 1024, 304'326'632}}) {
    ModelConfig config;
    config.set_family(ModelConfig::VIT);
    config.set_layers(p.layers);
    config.set_heads(p.heads);
    config.set_width(p.width);
    config.set_image_size(224);
    config.set_patch_size(16);
    ParameterStore store;
    const ClassifierHead head(store, config, 1000);
    store.end_unit();
    const Transformer model(config, store, false);
    EXPECT_EQ(store.parameters(), p.parameters);
    EXPECT_EQ(count_parameters(model.config()).total, p.parameters - 1000 * (p.width + 1));
    EXPECT_EQ(model.config().context(), 197);
  }
}

}  // namespace
}  // namespace tsugi
