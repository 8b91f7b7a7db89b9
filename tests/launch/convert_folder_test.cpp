// `tsugi import` and `tsugi export`: the same bytes back, resized vocabularies, and folders that are wrong.
#include "launch/convert_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <map>

#include "core/checkpoint/weight_folder.h"
#include "core/checkpoint/weight_writer.h"
#include "core/data/file.h"
#include "launch/model_folder.h"
#include "tests/core/checkpoint/checkpoint_testing.h"

namespace tsugi::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Tensors = std::map<std::string, std::vector<float>>;

/// A folder with the golden model of a family.
class ConvertFolder : public ::testing::Test {
 protected:
  void make(const std::string& name, const std::string& dtype = "F32",
            const std::function<void(std::vector<SavedTensor>&, Tensors&)>& change = {}) {
    const std::string golden = std::string(TSUGI_SOURCE_DIR) + "/tests/golden/family_" + name;
    fs::remove_all(in());
    fs::create_directory(in());
    fs::copy_file(golden + ".json", in() + "/config.json");
    const std::string bytes = read_bytes(golden + ".safetensors");
    const SafetensorsHeader header = parse_safetensors(bytes, static_cast<int64_t>(bytes.size()), name);
    std::vector<SavedTensor> tensors = folder_tensors(load_huggingface_config(in()));
    Tensors values;
    for (const SavedTensor& tensor : tensors) {
      const SafetensorsTensor& stored = header.tensors.at(tensor.name);
      std::vector<float>& target = values[tensor.name];
      target.resize(static_cast<size_t>(stored.elements));
      std::memcpy(target.data(), bytes.data() + stored.begin, target.size() * sizeof(float));
    }
    if (change) change(tensors, values);
    std::vector<SafetensorsSpec> specs;
    for (const SavedTensor& tensor : tensors) specs.push_back({tensor.name, dtype, tensor.shape});
    write_weights(
        in(), specs,
        [&](size_t index, int64_t offset, std::span<float> out) {
          const std::vector<float>& from = values.at(specs[index].name);
          std::copy_n(from.begin() + offset, out.size(), out.begin());
        },
        int64_t{1} << 40);
  }

  Converted convert(const std::function<void(ConvertOptions&)>& change = {}) {
    fs::remove_all(out());
    ConvertOptions options;
    options.from = in();
    options.out = out();
    if (change) change(options);
    return convert_folder(options);
  }

  std::string in() const { return folder_.path() + "/in"; }
  std::string out() const { return folder_.path() + "/out"; }

  std::vector<float> read(const std::string& folder, const std::string& name) {
    WeightFolder weights(folder);
    std::string found;
    const SafetensorsTensor* tensor = weights.file_with(name, found).find(found);
    std::vector<float> values(static_cast<size_t>(tensor->elements));
    weights.read(name, 0, values);
    return values;
  }

  TemporaryFolder folder_;
};

TEST_F(ConvertFolder, RoundTripIsTheIdentity) {
  for (const char* name : {"llama", "llama3", "qwen2", "qwen3", "mistral", "arcee"}) {
    for (const char* dtype : {"F32", "BF16", "F16"}) {
      SCOPED_TRACE(std::string(name) + " " + dtype);
      make(name, dtype);
      const Converted first = convert();
      EXPECT_EQ(read_bytes(in() + "/model.safetensors"), read_bytes(out() + "/model.safetensors"));
      EXPECT_EQ(load_huggingface_config(in()).model.DebugString(), load_huggingface_config(out()).model.DebugString());
      EXPECT_EQ(first.description.dtype, std::string(dtype) == "F32"    ? "float32"
                                         : std::string(dtype) == "BF16" ? "bfloat16"
                                                                        : "float16");
      // In several files, and back in one.
      const std::string many = folder_.path() + "/many";
      fs::remove_all(many);
      convert([&](ConvertOptions& options) {
        options.out = many;
        options.max_shard_bytes = 4000;
      });
      EXPECT_FALSE(fs::exists(many + "/model.safetensors"));
      convert([&](ConvertOptions& options) { options.from = many; });
      EXPECT_EQ(read_bytes(in() + "/model.safetensors"), read_bytes(out() + "/model.safetensors"));
    }
  }
}

/// The tensors of all files of a folder by name: type, shape and bytes.
std::map<std::string, std::string> stored_tensors(const std::string& folder) {
  std::map<std::string, std::string> tensors;
  for (const fs::directory_entry& file : fs::directory_iterator(folder)) {
    if (file.path().extension() != ".safetensors") continue;
    const std::string bytes = read_bytes(file.path().string());
    const SafetensorsHeader header = parse_safetensors(bytes, static_cast<int64_t>(bytes.size()), file.path().string());
    for (const auto& [name, tensor] : header.tensors) {
      std::string& all = tensors[name];
      for (const int64_t dimension : tensor.shape) all += std::to_string(dimension) + " ";
      all += tensor.dtype + " " +
             bytes.substr(static_cast<size_t>(tensor.begin), static_cast<size_t>(tensor.end - tensor.begin));
    }
  }
  return tensors;
}

TEST_F(ConvertFolder, FoldersOfTransformersComeBackAsTheyWere) {
  for (const char* name : {"gpt2", "llama", "bert", "roberta", "distilbert", "vit"}) {
    SCOPED_TRACE(name);
    const std::string theirs = std::string(TSUGI_SOURCE_DIR) + "/tests/golden/folders/" + name;
    const HuggingfaceModel before = load_huggingface_config(theirs);
    const Converted converted = convert([&](ConvertOptions& options) { options.from = theirs; });
    const std::map<std::string, std::string> expected = stored_tensors(theirs);
    EXPECT_GT(expected.size(), 10u);
    EXPECT_TRUE(stored_tensors(out()) == expected);
    const HuggingfaceModel after = load_huggingface_config(out());
    EXPECT_EQ(after.model.DebugString(), before.model.DebugString());
    EXPECT_EQ(after.labels, before.labels);
    EXPECT_EQ(after.token_ids, before.token_ids);
    EXPECT_EQ(after.dtype, before.dtype);
    // In another type once, then as it is: the same bytes, in one file and in several.
    for (const char* dtype : {"f32", "bf16", "f16"}) {
      SCOPED_TRACE(dtype);
      convert([&](ConvertOptions& options) {
        options.from = theirs;
        options.dtype = dtype;
      });
      const std::string once = read_bytes(out() + "/model.safetensors");
      const std::string many = folder_.path() + "/many";
      fs::remove_all(in());
      fs::rename(out(), in());
      fs::remove_all(many);
      convert([&](ConvertOptions& options) {
        options.out = many;
        options.max_shard_bytes = 1000;
      });
      EXPECT_FALSE(fs::exists(many + "/model.safetensors"));
      convert([&](ConvertOptions& options) { options.from = many; });
      EXPECT_TRUE(read_bytes(out() + "/model.safetensors") == once);
    }
  }
}

TEST_F(ConvertFolder, NamesWithoutPrefixAndBuffersPass) {
  make("llama");
  const std::string whole = read_bytes(in() + "/model.safetensors");
  make("llama", "F32", [](std::vector<SavedTensor>& tensors, Tensors& values) {
    for (SavedTensor& tensor : tensors) {
      if (!tensor.name.starts_with("model.")) continue;
      const std::string bare = tensor.name.substr(6);
      values[bare] = values[tensor.name];
      tensor.name = bare;
    }
    tensors.push_back({"layers.0.self_attn.rotary_emb.inv_freq", {2}});
    values["layers.0.self_attn.rotary_emb.inv_freq"] = {1.0f, 2.0f};
  });
  convert();
  EXPECT_EQ(read_bytes(out() + "/model.safetensors"), whole);
}

TEST_F(ConvertFolder, OtherTypes) {
  make("qwen3");
  const std::vector<float> exact = read(in(), "model.norm.weight");
  EXPECT_EQ(convert([](ConvertOptions& options) { options.dtype = "bf16"; }).description.dtype, "bfloat16");
  const std::vector<float> rounded = read(out(), "model.norm.weight");
  for (size_t i = 0; i < exact.size(); ++i) EXPECT_EQ(rounded[i], static_cast<float>(bf16(exact[i])));
}

TEST_F(ConvertFolder, LargerAndSmallerVocabulary) {
  for (const char* name : {"llama", "llama3"}) {  // untied and tied
    make(name);
    const Converted larger = convert([](ConvertOptions& options) { options.vocabulary = 40; });
    EXPECT_EQ(larger.description.model.vocabulary(), 40);
    EXPECT_EQ(load_huggingface_config(out()).model.vocabulary(), 40);
    for (const std::string& table : {std::string("model.embed_tokens.weight"), std::string("lm_head.weight")}) {
      if (table == "lm_head.weight" && larger.description.model.tied()) continue;
      const std::vector<float> before = read(in(), table);
      const std::vector<float> after = read(out(), table);
      ASSERT_EQ(after.size(), 40u * 16u);
      EXPECT_TRUE(std::equal(before.begin(), before.end(), after.begin()));
      for (size_t column = 0; column < 16; ++column) {
        double mean = 0.0;
        for (size_t row = 0; row < 29; ++row) mean += static_cast<double>(before[row * 16 + column]) / 29.0;
        for (size_t row = 29; row < 40; ++row) EXPECT_NEAR(after[row * 16 + column], mean, 1e-6);
      }
    }
    open_model(out(), 1);
    convert([](ConvertOptions& options) { options.vocabulary = 20; });
    const std::vector<float> before = read(in(), "model.embed_tokens.weight");
    const std::vector<float> after = read(out(), "model.embed_tokens.weight");
    ASSERT_EQ(after.size(), 20u * 16u);
    EXPECT_TRUE(std::equal(after.begin(), after.end(), before.begin()));
  }
}

TEST_F(ConvertFolder, TokenizerAndGenerationConfigTravel) {
  make("llama");
  write_bytes(in() + "/tokenizer.json", "{\"any\": 1}");
  write_bytes(in() + "/special_tokens_map.json", "{}");
  write_bytes(in() + "/generation_config.json", "{\"temperature\": 0.5}");
  write_bytes(in() + "/README.md", "not a model's file");
  convert();
  EXPECT_EQ(read_bytes(out() + "/tokenizer.json"), "{\"any\": 1}");
  EXPECT_EQ(read_bytes(out() + "/generation_config.json"), "{\"temperature\": 0.5}");
  EXPECT_TRUE(fs::exists(out() + "/special_tokens_map.json"));
  EXPECT_FALSE(fs::exists(out() + "/README.md"));
  fs::remove(in() + "/generation_config.json");
  convert();
  EXPECT_THAT(read_bytes(out() + "/generation_config.json"), HasSubstr("\"eos_token_id\": 2"));
}

TEST_F(ConvertFolder, WrongTensorsAreNamed) {
  const auto refusal = [&](const std::function<void(std::vector<SavedTensor>&, Tensors&)>& change) {
    make("llama3", "F32", change);
    const std::string message = error_of([&] { convert(); });
    EXPECT_FALSE(fs::exists(out())) << message;
    EXPECT_FALSE(fs::exists(out() + ".partial")) << message;
    EXPECT_EQ(error_of([&] { open_model(in(), 1); }), message);
    return message;
  };
  const std::string victim = "model.layers.1.self_attn.k_proj.weight";
  EXPECT_THAT(refusal([&](auto& tensors, auto&) {
                std::erase_if(tensors, [&](const SavedTensor& tensor) { return tensor.name == victim; });
              }),
              AllOf(HasSubstr("model.safetensors"), HasSubstr(victim), HasSubstr("missing")));
  EXPECT_THAT(refusal([&](auto& tensors, auto&) {
                for (SavedTensor& tensor : tensors) {
                  if (tensor.name == victim) std::swap(tensor.shape[0], tensor.shape.emplace_back(1));
                }
              }),
              AllOf(HasSubstr(victim), HasSubstr("shape")));
  EXPECT_THAT(refusal([&](auto& tensors, auto& values) {
                tensors.push_back({"model.layers.2.mlp.up_proj.weight", {1}});
                values["model.layers.2.mlp.up_proj.weight"] = {0.0f};
              }),
              AllOf(HasSubstr("model.layers.2.mlp.up_proj.weight"), HasSubstr("not part of the model")));
  EXPECT_THAT(refusal([&](auto&, auto& values) { values.at(victim)[7] = std::numeric_limits<float>::infinity(); }),
              AllOf(HasSubstr(victim), HasSubstr("not finite at element 7")));
  EXPECT_THAT(refusal([&](auto& tensors, auto& values) {
                tensors.push_back({"lm_head.weight", {29, 16}});
                values["lm_head.weight"] = values.at("model.embed_tokens.weight");
                values["lm_head.weight"][5] += 1.0f;
              }),
              AllOf(HasSubstr("lm_head.weight"), HasSubstr("differs")));
  // The same copy without the difference is stored once.
  make("llama3", "F32", [](auto& tensors, auto& values) {
    tensors.push_back({"lm_head.weight", {29, 16}});
    values["lm_head.weight"] = values.at("model.embed_tokens.weight");
  });
  convert();
  EXPECT_FALSE(WeightFolder(out()).has("lm_head.weight"));
}

TEST_F(ConvertFolder, NothingIsOverwritten) {
  make("llama");
  fs::create_directory(out());
  write_bytes(out() + "/mine", "x");
  ConvertOptions options;
  options.from = in();
  options.out = out();
  EXPECT_THAT(error_of([&] { convert_folder(options); }, ExitCode::kUsage), HasSubstr("exists already"));
  EXPECT_TRUE(fs::exists(out() + "/mine"));
  fs::remove(out() + "/mine");
  convert_folder(options);  // an empty folder will do
  EXPECT_TRUE(fs::exists(out() + "/config.json"));
}

}  // namespace
}  // namespace tsugi::testing
