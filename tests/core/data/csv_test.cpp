#include "core/data/csv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "ops/base/error.h"

namespace tsugi {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string refusal(const std::string& text) {
  try {
    parse_csv(text, "t.csv");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kData);
    return error.what();
  }
  return "read";
}

TEST(Csv, ReadsQuotesLineEndsAndTheByteOrderMark) {
  const CsvTable table = parse_csv(
      "\xEF\xBB\xBF"
      "a, b ,\"c,\"\"d\"\"\"\r\n1,,\"x\ny\"\r\n\r\n2,3,4",
      "t.csv");
  EXPECT_THAT(table.header, ElementsAre("a", "b", "c,\"d\""));
  ASSERT_EQ(table.rows.size(), 2u);
  EXPECT_THAT(table.rows[0], ElementsAre("1", "", "x\ny"));
  EXPECT_THAT(table.rows[1], ElementsAre("2", "3", "4"));
  EXPECT_THAT(table.lines, ElementsAre(2, 5));
}

TEST(Csv, RefusesWithLineAndReason) {
  EXPECT_THAT(refusal(""), HasSubstr("t.csv: is empty"));
  EXPECT_THAT(refusal("a,b\n"), HasSubstr("a header but no rows"));
  EXPECT_THAT(refusal("a,b\n1,2\n3\n"), HasSubstr("line 3: 1 fields, but the header has 2"));
  EXPECT_THAT(refusal("a,b\n1,2,3\n"), HasSubstr("line 2: 3 fields"));
  EXPECT_THAT(refusal("a,b\n1,\"2\n"), HasSubstr("line 2: a quoted field does not end"));
  EXPECT_THAT(refusal("a,b\n1,2\"3\n"), HasSubstr("line 2: a quote inside"));
  EXPECT_THAT(refusal("a,b\n1,\"2\"3\n"), HasSubstr("line 2: text after a closing quote"));
  EXPECT_THAT(refusal("a,b\n1,2\r3,4\n"), HasSubstr("carriage return"));
  EXPECT_THAT(refusal(std::string("a,b\n1,2\0\n", 9)), HasSubstr("zero byte"));
  EXPECT_THAT(refusal("a;b\n1;2\n"), HasSubstr("holds ; or a tab"));
}

TEST(Csv, FindsColumnsAndSuggestsNames) {
  const CsvTable table = parse_csv("n,loss,x,x\n1,2,3,4\n", "t.csv");
  EXPECT_EQ(table.require_column("loss"), 1);
  EXPECT_EQ(table.find_column("d"), -1);
  EXPECT_THROW(table.find_column("x"), Error);
  try {
    table.require_column("Loss");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.hint(), HasSubstr("did you mean \"loss\"? The columns: n, loss"));
  }
}

TEST(Csv, NumbersAreWholeFields) {
  double value = 0.0;
  for (const char* good : {"1", " 1.5e9 ", "-3", "+2", "1E-3", "7."})
    EXPECT_TRUE(parse_csv_number(good, value)) << good;
  EXPECT_DOUBLE_EQ(value, 7.0);
  for (const char* bad : {"1,000", "7B", "0x10", "1 2", "+-1", "x", "1e", "--1"}) {
    EXPECT_FALSE(parse_csv_number(bad, value)) << bad;
  }
  EXPECT_TRUE(parse_csv_number("", value) && std::isnan(value));
  EXPECT_TRUE(parse_csv_number("nan", value) && std::isnan(value));
  EXPECT_TRUE(parse_csv_number("inf", value) && std::isinf(value));
}

}  // namespace
}  // namespace tsugi
