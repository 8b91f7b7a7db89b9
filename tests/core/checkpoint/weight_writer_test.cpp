// Writing weights: types, shards with an index, and reading them back; resizing and conversion of whole folders.
#include "core/checkpoint/weight_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "core/checkpoint/weight_folder.h"
#include "core/data/file.h"
#include "core/data/json.h"
#include "ops/tensor/dtype.h"
#include "tests/core/checkpoint/checkpoint_testing.h"

namespace tsugi::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

float value_of(size_t tensor, int64_t element) {
  return static_cast<float>(tensor + 1) * 0.37f * static_cast<float>(element % 1000 - 300);
}

void write(const std::string& folder, const std::vector<SafetensorsSpec>& specs, int64_t max_file_bytes) {
  write_weights(
      folder, specs,
      [](size_t index, int64_t offset, std::span<float> out) {
        for (size_t i = 0; i < out.size(); ++i) out[i] = value_of(index, offset + static_cast<int64_t>(i));
      },
      max_file_bytes);
}

std::vector<float> read(WeightFolder& folder, const std::string& name, int64_t elements) {
  std::vector<float> values(static_cast<size_t>(elements));
  folder.read(name, 0, values);
  return values;
}

TEST(WeightWriter, OneFile) {
  const TemporaryFolder folder;
  // More than a piece of the writer, and not a multiple of one.
  write(folder.path(), {{"a", "F32", {3, 500000}}, {"b", "BF16", {7}}, {"empty", "F32", {0, 4}}}, int64_t{1} << 40);
  EXPECT_TRUE(fs::exists(folder.path() + "/model.safetensors"));
  EXPECT_FALSE(fs::exists(folder.path() + "/model.safetensors.index.json"));
  WeightFolder weights(folder.path());
  const std::vector<float> a = read(weights, "a", 1500000);
  for (int64_t i = 0; i < 1500000; ++i) ASSERT_EQ(a[static_cast<size_t>(i)], value_of(0, i)) << i;
  const std::vector<float> b = read(weights, "b", 7);
  for (int64_t i = 0; i < 7; ++i) EXPECT_EQ(b[static_cast<size_t>(i)], static_cast<float>(bf16(value_of(1, i))));
}

TEST(WeightWriter, FilesOfLimitedSize) {
  const TemporaryFolder folder;
  const std::vector<SafetensorsSpec> specs{
      {"a", "F32", {10}}, {"b", "F32", {10}}, {"huge", "F32", {100}}, {"c", "BF16", {10}}, {"d", "F16", {30}}};
  write(folder.path(), specs, 80);
  const JsonValue index = read_json(folder.path() + "/model.safetensors.index.json", 1 << 20);
  EXPECT_EQ(index.require_object("metadata").require_int("total_size"), 40 + 40 + 400 + 20 + 60);
  const JsonValue map = index.require_object("weight_map");
  EXPECT_EQ(map.require_string("a"), "model-00001-of-00003.safetensors");
  EXPECT_EQ(map.require_string("b"), "model-00001-of-00003.safetensors");
  EXPECT_EQ(map.require_string("huge"), "model-00002-of-00003.safetensors");
  EXPECT_EQ(map.require_string("c"), "model-00003-of-00003.safetensors");
  EXPECT_EQ(map.require_string("d"), "model-00003-of-00003.safetensors");
  WeightFolder weights(folder.path());
  EXPECT_EQ(read(weights, "huge", 100)[99], value_of(2, 99));
  EXPECT_EQ(read(weights, "d", 30)[29], float_of_half(half_of_float(value_of(4, 29))));
  weights.check({{"a", {10}}, {"huge", {100}}});
}

TEST(WeightWriter, EveryHalfSurvivesAndRoundingIsToEven) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = float_of_half(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(float_of_half(half_of_float(value))));
      continue;
    }
    ASSERT_EQ(half_of_float(value), half) << bits;
    // Halfway to the next larger magnitude: to the even one; a little beyond: up; a little before: down.
    if ((half & 0x7FFFu) >= 0x7BFFu) continue;
    const float next = float_of_half(static_cast<uint16_t>(half + 1));
    const float middle = (value + next) / 2.0f;
    const auto even = static_cast<uint16_t>(half % 2 == 0 ? half : half + 1);
    ASSERT_EQ(half_of_float(middle), even) << bits;
    ASSERT_EQ(half_of_float(std::nextafter(middle, value)), half) << bits;
    ASSERT_EQ(half_of_float(std::nextafter(middle, next)), half + 1) << bits;
  }
  EXPECT_EQ(half_of_float(65519.0f), 0x7BFF);
  EXPECT_EQ(half_of_float(65520.0f), 0x7C00);
  EXPECT_EQ(half_of_float(-1e30f), 0xFC00);
}

TEST(WeightWriter, WhatHalvesCannotHoldIsNamed) {
  const TemporaryFolder folder;
  try {
    write_weights(
        folder.path(), {{"wide", "F16", {1}}}, [](size_t, int64_t, std::span<float> out) { out[0] = 70000.0f; }, 1000);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kData);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("wide"), HasSubstr("70000")));
  }
}

TEST(WeightFolder, NamesWhatDoesNotBelong) {
  const TemporaryFolder folder;
  write(folder.path(),
        {{"a", "F32", {2}}, {"h.0.attn.bias", "F32", {2}}, {"lm_head.weight", "F32", {2}}, {"b.c", "F32", {1}}}, 1000);
  WeightFolder weights(folder.path());
  weights.check_nothing_else({{"transformer.a", {2}}, {"model.b.c", {1}}});
  try {
    weights.check_nothing_else({{"transformer.a", {2}}});
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("model.safetensors"), HasSubstr("\"b.c\" is not part of the model")));
  }
}

TEST(WeightFolder, TiedCopies) {
  const TemporaryFolder folder;
  write_weights(
      folder.path(), {{"x", "F32", {300, 300}}, {"y", "F32", {300, 300}}, {"z", "F32", {300, 300}}, {"w", "F32", {2}}},
      [](size_t index, int64_t offset, std::span<float> out) {
        for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(offset) + static_cast<float>(i);
        if (index == 2) out.back() += 1.0f;
      },
      int64_t{1} << 30);
  WeightFolder weights(folder.path());
  weights.check_equal("x", "y");
  EXPECT_THROW(weights.check_equal("x", "z"), Error);
  EXPECT_THROW(weights.check_equal("x", "w"), Error);
}

TEST(WeightFolder, IndexRules) {
  const TemporaryFolder folder;
  const auto refusal = [&](const std::string& index) {
    write_file_durably(folder.path() + "/model.safetensors.index.json", index);
    try {
      WeightFolder weights(folder.path());
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kData);
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_EQ(refusal(R"({"weight_map": {"a": "x.safetensors"}})"), "accepted");  // opened when it is needed
  EXPECT_THAT(refusal(R"({"weight_map": {"a": "../x.safetensors"}})"), HasSubstr("x.safetensors"));
  EXPECT_THAT(refusal(R"({"weight_map": {"a": "/etc/passwd"}})"), HasSubstr("passwd"));
  EXPECT_THAT(refusal(R"({"weight_map": {"a": "state/x.safetensors"}})"), HasSubstr("plain"));
  EXPECT_THAT(refusal(R"({"weight_map": {"a": ".x"}})"), HasSubstr(".x"));
  EXPECT_THAT(refusal(R"({"weight_map": {"a": 3}})"), HasSubstr("weight_map"));
  EXPECT_THAT(refusal(R"({"weight_map": {"a": "x", "a": "y"}})"), HasSubstr("a"));
  EXPECT_THAT(refusal(R"({"weight_map": []})"), HasSubstr("weight_map"));
  EXPECT_THAT(refusal(R"({})"), HasSubstr("weight_map"));
  EXPECT_THAT(refusal(""), HasSubstr("index.json"));
  std::string many = R"({"weight_map": {"t": "x")";
  for (int i = 0; i < 1001; ++i) many += ", \"t" + std::to_string(i) + "\": \"f" + std::to_string(i) + "\"";
  EXPECT_THAT(refusal(many + "}}"), HasSubstr("limit"));
}

}  // namespace
}  // namespace tsugi::testing
