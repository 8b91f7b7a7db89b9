#include "core/data/json.h"

#include <gmock/gmock.h>

#include "tests/core/data/testing.h"

namespace tsugi {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::message_of;

std::string parse_error(std::string_view text, int depth = 64) {
  return message_of(ExitCode::kData, [&] { parse_json(text, "a.json", depth); });
}

TEST(Json, ReadsEveryKindOfValue) {
  const JsonValue value = parse_json(
      R"({"s": "aé\n", "i": -7, "big": 9223372036854775807, "d": 2.5, "b": true, "n": null, "a": [1, [2]], "o": {"k": 1}})",
      "a.json");
  EXPECT_EQ(value.require_string("s"), "aé\n");
  EXPECT_EQ(value.require_int("i"), -7);
  EXPECT_EQ(value.require_int("big"), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(value.require_double("d"), 2.5);
  EXPECT_EQ(value.require_double("i"), -7.0);
  EXPECT_TRUE(value.require_bool("b"));
  EXPECT_FALSE(value.has("n"));
  EXPECT_TRUE(value.require("n").is_null());
  EXPECT_EQ(value.require_array("a").size(), 2);
  EXPECT_EQ(value.require_array("a").at(1).at(0).as_int(), 2);
  EXPECT_EQ(value.require_object("o").members().at(0).first, "k");
  EXPECT_EQ(value.int_or("i", 3), -7);
  EXPECT_EQ(value.int_or("n", 3), 3);
  EXPECT_EQ(value.int_or("missing", 3), 3);
  EXPECT_EQ(value.string_or("missing", "x"), "x");
}

TEST(Json, ValuesOutliveTheDocumentTheyCameFrom) {
  const JsonValue inner = parse_json(R"({"a": {"b": "c"}})", "a.json").require_object("a");
  EXPECT_EQ(inner.require_string("b"), "c");
}

TEST(Json, SyntaxErrorsNameFileAndByte) {
  EXPECT_THAT(parse_error("[1,,2]"), HasSubstr("a.json: byte 3: "));
  EXPECT_THAT(parse_error("[1] x"), HasSubstr("a.json: byte 4: "));
  EXPECT_THAT(parse_error(""), HasSubstr("a.json: byte 0: "));
  EXPECT_THAT(parse_error("[\"\xff\"]"), AllOf(HasSubstr("byte 2: "), HasSubstr("UTF-8")));
  EXPECT_THAT(parse_error(R"(["\ud800"])"), HasSubstr("a.json: byte 8: "));
  EXPECT_THAT(parse_error("[NaN]"), HasSubstr("a.json: byte 1: "));
  EXPECT_THAT(parse_error("[1e999]"), HasSubstr("a.json: byte "));
  EXPECT_LT(parse_error("[\"" + std::string(1'000'000, 'x')).size(), 400u);
}

TEST(Json, RefusesWhatTheLibraryWouldAccept) {
  EXPECT_THAT(parse_error(R"({"a":1,"b":{"a":2},"a":3})"), HasSubstr("a.json: byte 21: duplicate key \"a\""));
  EXPECT_THAT(parse_error("[18446744073709551616]"), HasSubstr("does not fit 64 bits"));
  EXPECT_THAT(parse_error("[-9223372036854775809]"), HasSubstr("does not fit 64 bits"));
}

TEST(Json, DepthIsLimited) {
  EXPECT_EQ(parse_json("[[[1]]]", "a.json", 3).at(0).at(0).at(0).as_int(), 1);
  EXPECT_THAT(parse_error("[[[[1]]]]", 3), HasSubstr("byte 3: nested deeper than 3"));
  EXPECT_THAT(parse_error(R"({"a":{"b":{"c":{}}}})", 3), HasSubstr("nested deeper than 3"));
  EXPECT_THAT(parse_error(std::string(10'000'000, '[')), HasSubstr("byte 64: nested deeper"));
}

TEST(Json, GettersNameTheField) {
  const JsonValue value =
      parse_json(R"({"model": {"n": 5, "s": "x", "list": [0, 1.5, 18446744073709551615]}})", "a.json");
  const JsonValue model = value.require_object("model");
  const auto error = [](auto action) { return message_of(ExitCode::kData, action); };
  EXPECT_THAT(error([&] { model.require_int("n", 6, 9); }),
              HasSubstr("a.json: field model.n: must be in [6, 9], not 5"));
  EXPECT_THAT(error([&] { model.require_int("s"); }), HasSubstr("a.json: field model.s: must be an integer"));
  EXPECT_THAT(error([&] { model.require_string("n"); }), HasSubstr("field model.n: must be a string, not number"));
  EXPECT_THAT(error([&] { model.require("absent"); }), HasSubstr("field model: lacks \"absent\""));
  EXPECT_THAT(error([&] { value.require_array("model"); }), HasSubstr("field model: must be an array, not object"));
  EXPECT_THAT(error([&] { model.string_or("n", ""); }), HasSubstr("field model.n: must be a string"));
  EXPECT_THAT(error([&] { model.require_only({"n", "s"}); }), HasSubstr("field model: has unknown member \"list\""));
  const JsonValue list = model.require_array("list");
  EXPECT_THAT(error([&] { list.at(1).as_int(); }), HasSubstr("field model.list[1]: must be an integer, not 1.5"));
  EXPECT_THAT(error([&] { list.at(2).as_int(); }), HasSubstr("18446744073709551615"));
  EXPECT_THAT(error([&] { list.at(3); }), HasSubstr("field model.list: has no element 3"));
  EXPECT_THAT(error([&] { list.require("x"); }), HasSubstr("must be an object"));
  EXPECT_THAT(error([&] { value.as_bool(); }), HasSubstr("a.json: top level: must be true or false"));
}

}  // namespace
}  // namespace tsugi
