#include "core/checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "core/data/crc32c.h"
#include "tests/core/checkpoint/checkpoint_testing.h"

namespace tsugi {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using testing::TemporaryFolder;
using testing::write_bytes;

std::string file_of(const std::string& json, size_t data_bytes) {
  uint64_t length = json.size();
  return std::string(reinterpret_cast<char*>(&length), 8) + json + std::string(data_bytes, '\1');
}

std::string with_length(uint64_t length, const std::string& rest) {
  return std::string(reinterpret_cast<char*>(&length), 8) + rest;
}

SafetensorsHeader parse(const std::string& bytes) {
  return parse_safetensors(bytes, static_cast<int64_t>(bytes.size()), "model.safetensors");
}

const char* kOneTensor = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";

struct Case {
  const char* name;
  std::string bytes;
  const char* reason;  ///< part of the message; null: the file is right
};

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape, const std::string& at) {
  return '"' + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + at + "}";
}

std::vector<Case> cases() {
  const std::string two_32 = "4294967296";
  return {
      {"one tensor", file_of(kOneTensor, 8), nullptr},
      {"no tensors", file_of("{}", 0), nullptr},
      {"padded", file_of(std::string(kOneTensor) + "     ", 8), nullptr},
      {"scalar", file_of("{" + entry("a", "F64", "[]", "[0,8]") + "}", 8), nullptr},
      {"empty tensors anywhere",
       file_of("{" + entry("a", "F32", "[0]", "[0,0]") + "," + entry("b", "U8", "[3]", "[0,3]") + "," +
                   entry("c", "F32", "[5,0]", "[3,3]") + "}",
               3),
       nullptr},
      {"offsets in another order than names",
       file_of("{" + entry("a", "U8", "[1]", "[3,4]") + "," + entry("b", "U8", "[3]", "[0,3]") + "}", 4), nullptr},
      {"four-bit type", file_of("{" + entry("a", "F4", "[2]", "[0,1]") + "}", 1), nullptr},
      {"metadata", file_of(R"({"__metadata__":{"format":"pt"}})", 0), nullptr},

      {"empty file", "", "too short"},
      {"seven bytes", "1234567", "too short"},
      {"header of 100,000,001 bytes", with_length(100'000'001, "{}"), "limit"},
      {"header of 2^64-1 bytes", with_length(~uint64_t{0}, "{}"), "limit"},
      {"header beyond the end", with_length(3, "{}"), "does not fit"},
      {"empty header", with_length(0, ""), "begin with '{'"},
      {"space before the header", file_of(" {}", 0), "begin with '{'"},
      {"byte order mark", file_of("\xEF\xBB\xBF{}", 0), "begin with '{'"},
      {"array", file_of("[]", 0), "begin with '{'"},
      {"torn JSON", file_of(R"({"a":{"dtype")", 0), "syntax"},
      {"two values", file_of("{}{}", 0), "byte"},
      {"bad UTF-8", file_of("{\"__metadata__\":{\"a\":\"\xFF\"}}", 0), "UTF-8"},
      {"duplicate tensor",
       file_of("{" + entry("a", "U8", "[1]", "[0,1]") + "," + entry("a", "U8", "[1]", "[0,1]") + "}", 1), "duplicate"},
      {"duplicate field", file_of(R"({"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}})", 1),
       "duplicate"},
      {"deep nesting", file_of("{\"a\":" + std::string(100000, '['), 0), "nested deeper"},
      {"unknown field", file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"stride":[2]}})", 1), "stride"},
      {"missing field", file_of(R"({"a":{"dtype":"U8","shape":[1]}})", 1), "data_offsets"},
      {"tensor is a list", file_of(R"({"a":[]})", 0), "object"},
      {"metadata is a number", file_of(R"({"__metadata__":{"step":3}})", 0), "string"},
      {"metadata is nested", file_of(R"({"__metadata__":{"a":{"b":"c"}}})", 0), "string"},
      {"unknown type", file_of("{" + entry("a", "F31", "[1]", "[0,4]") + "}", 4), "unknown dtype"},
      {"type in lower case", file_of("{" + entry("a", "f32", "[1]", "[0,4]") + "}", 4), "unknown dtype"},
      {"first does not begin at 0", file_of("{" + entry("a", "U8", "[1]", "[1,2]") + "}", 2), "begins at"},
      {"hole", file_of("{" + entry("a", "U8", "[1]", "[0,1]") + "," + entry("b", "U8", "[1]", "[2,3]") + "}", 3),
       "begins at"},
      {"overlap", file_of("{" + entry("a", "U8", "[2]", "[0,2]") + "," + entry("b", "U8", "[2]", "[1,3]") + "}", 3),
       "begins at"},
      {"same bytes twice",
       file_of("{" + entry("a", "U8", "[2]", "[0,2]") + "," + entry("b", "U8", "[2]", "[0,2]") + "}", 2), "begins at"},
      {"ends before it begins", file_of("{" + entry("a", "U8", "[1]", "[1,0]") + "}", 1), "before it begins"},
      {"three offsets", file_of("{" + entry("a", "U8", "[1]", "[0,1,1]") + "}", 1), "[begin, end]"},
      {"negative offset", file_of("{" + entry("a", "U8", "[1]", "[-1,0]") + "}", 1), "must be in"},
      {"offset beyond the file", file_of("{" + entry("a", "U8", "[9]", "[0,9]") + "}", 8), "must be in"},
      {"offset of 2^64", file_of("{" + entry("a", "U8", "[1]", "[0,18446744073709551616]") + "}", 1), "64 bits"},
      {"offset of 2^63", file_of("{" + entry("a", "U8", "[1]", "[0,9223372036854775808]") + "}", 1), "must be in"},
      {"fractional offset", file_of("{" + entry("a", "U8", "[1]", "[0,1.0]") + "}", 1), "integer"},
      {"negative dimension", file_of("{" + entry("a", "U8", "[-1]", "[0,1]") + "}", 1), "must be in"},
      {"two negative dimensions", file_of("{" + entry("a", "U8", "[-1,-1]", "[0,1]") + "}", 1), "must be in"},
      {"shape overflows to 0", file_of("{" + entry("a", "U8", "[" + two_32 + "," + two_32 + "]", "[0,0]") + "}", 0),
       "overflows"},
      {"bits overflow", file_of("{" + entry("a", "F32", "[1152921504606846976]", "[0,0]") + "}", 0), "overflows"},
      {"half a byte", file_of("{" + entry("a", "F4", "[3]", "[0,1]") + "}", 1), "whole number"},
      {"shape too large", file_of("{" + entry("a", "F32", "[3]", "[0,8]") + "}", 8), "needs 12 bytes"},
      {"shape too small", file_of("{" + entry("a", "F32", "[1]", "[0,8]") + "}", 8), "needs 4 bytes"},
      {"one byte missing", file_of(kOneTensor, 7), "must be in"},
      {"one byte too many", file_of(kOneTensor, 9), "end at byte"},
      {"bytes without a tensor", file_of("{}", 1), "end at byte"},
  };
}

TEST(Safetensors, RuleByRule) {
  for (const Case& c : cases()) {
    if (c.reason == nullptr) {
      EXPECT_NO_THROW(parse(c.bytes)) << c.name;
    } else {
      const std::string message = error_of([&] { parse(c.bytes); });
      EXPECT_THAT(message, HasSubstr(c.reason)) << c.name;
      EXPECT_THAT(message, HasSubstr("model.safetensors")) << c.name;
    }
  }
}

// Through the file as well: nothing may be read or allocated beyond what the file has.
TEST(Safetensors, FileAgreesWithParser) {
  const TemporaryFolder folder;
  const Folder opened(folder.path());
  for (const Case& c : cases()) {
    write_bytes(folder.path() + "/x.safetensors", c.bytes);
    const auto read = [&] { SafetensorsFile(opened.open("x.safetensors")); };
    if (c.reason == nullptr) {
      EXPECT_NO_THROW(read()) << c.name;
    } else {
      EXPECT_THAT(error_of(read), HasSubstr(c.reason)) << c.name;
    }
  }
}

// Any byte of a valid header replaced by any other: an error, or a header that still tiles the file.
TEST(Safetensors, DamagedHeaderNeverReadsOutside) {
  const std::string good =
      file_of("{" + entry("a", "F32", "[2,1]", "[0,8]") + "," + entry("b", "U8", "[3]", "[8,11]") + "}", 11);
  int accepted = 0;
  for (size_t i = 0; i < good.size() - 11; ++i) {
    for (int value = 0; value < 256; ++value) {
      std::string bytes = good;
      bytes[i] = static_cast<char>(value);
      try {
        int64_t total = 0;
        for (const auto& [name, tensor] : parse(bytes).tensors) {
          EXPECT_LE(tensor.end, static_cast<int64_t>(bytes.size()));
          EXPECT_GE(tensor.begin, 8);
          total += tensor.end - tensor.begin;
        }
        EXPECT_EQ(total, 11);
        ++accepted;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ExitCode::kData);
      }
    }
  }
  EXPECT_GT(accepted, 100);  // other names, other types of the same size
}

TEST(Safetensors, ReadsWhatTheLibraryWrote) {
  const SafetensorsFile file(Folder(TSUGI_SOURCE_DIR "/tests/golden").open("mixed.safetensors"));
  EXPECT_EQ(file.header().metadata.at("format"), "pt");
  EXPECT_EQ(file.header().tensors.size(), 6u);
  const float infinity = std::numeric_limits<float>::infinity();
  const auto values = [&](const std::string& name) {
    std::vector<float> result(static_cast<size_t>(file.find(name)->elements));
    file.read_floats(name, 0, result);
    return result;
  };
  EXPECT_THAT(file.find("f32")->shape, ElementsAre(2, 3));
  EXPECT_THAT(values("f32"), ElementsAre(0.0f, -0.0f, 1.5f, infinity, 1e-45f, -3.4028234663852886e38f));
  EXPECT_TRUE(std::signbit(values("f32")[1]));
  EXPECT_THAT(values("bf16"), ElementsAre(1.0f, -2.5f, 3.140625f, -infinity, 9.183549615799121e-41f));
  EXPECT_THAT(values("f16"),
              ElementsAre(1.0f, -2.5f, 65504.0f, 5.960464477539063e-08f, infinity, 0.333251953125f, -0.0f));
  EXPECT_THAT(values("scalar"), ElementsAre(7.25f));
  EXPECT_TRUE(values("empty").empty());
  EXPECT_THAT(error_of([&] { values("i64"); }), HasSubstr("I64"));

  std::vector<float> middle(3);
  file.read_floats("f16", 1, middle);
  EXPECT_THAT(middle, ElementsAre(-2.5f, 65504.0f, 5.960464477539063e-08f));
}

// By the definition of binary16: sign, 5 bits of exponent with bias 15, 10 bits of mantissa.
TEST(Safetensors, EveryHalf) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const int exponent = static_cast<int>((bits >> 10) & 31u);
    const int mantissa = static_cast<int>(bits & 1023u);
    double expected = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
    if (exponent == 31) expected = std::numeric_limits<double>::infinity();
    const float got = float_of_half(static_cast<uint16_t>(bits));
    ASSERT_EQ(std::signbit(got), bits >= 32768) << bits;
    if (exponent == 31 && mantissa != 0) {
      ASSERT_TRUE(std::isnan(got)) << bits;
    } else {
      ASSERT_EQ(std::fabs(static_cast<double>(got)), expected) << bits;
    }
  }
}

TEST(Safetensors, LayoutIsReadBack) {
  const std::vector<SafetensorsSpec> specs = {
      {"b", "BF16", {3}}, {"z", "F32", {2, 2}}, {"quote\"é", "F32", {}}, {"none", "F32", {0}}, {"i", "I64", {1}}};
  const SafetensorsLayout layout = lay_out_safetensors(specs);
  const SafetensorsHeader header = parse_safetensors(layout.header, layout.file_bytes, "x");
  EXPECT_EQ(layout.header.size() % 8, 0u);
  EXPECT_EQ(layout.file_bytes, static_cast<int64_t>(layout.header.size()) + 6 + 16 + 4 + 8);
  EXPECT_EQ(header.metadata.at("format"), "pt");
  ASSERT_EQ(header.tensors.size(), specs.size());
  for (size_t i = 0; i < specs.size(); ++i) {
    const SafetensorsTensor& tensor = header.tensors.at(specs[i].name);
    EXPECT_EQ(tensor.begin, layout.offsets[i]);
    EXPECT_EQ(tensor.shape, specs[i].shape);
    EXPECT_EQ(tensor.dtype, specs[i].dtype);
  }
  EXPECT_EQ(layout.offsets[4], static_cast<int64_t>(layout.header.size()));  // the widest type first
}

TEST(Crc32c, PiecesCombine) {
  std::string text(5000, '\0');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * i / 7);
  const auto bytes = std::as_bytes(std::span(text));
  const uint32_t whole = crc32c(bytes);
  for (const size_t cut : {0, 1, 7, 8, 1023, 4096, 4999, 5000}) {
    EXPECT_EQ(crc32c_combine(crc32c(bytes.first(cut)), crc32c(bytes.subspan(cut)), 5000 - static_cast<int64_t>(cut)),
              whole);
  }
  // Published (RFC 3720, B.4): 32 bytes of zeros.
  EXPECT_EQ(crc32c_combine(crc32c(std::as_bytes(std::span("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16))),
                           crc32c(std::as_bytes(std::span("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16))), 16),
            0x8A9136AAu);
}

}  // namespace
}  // namespace tsugi
