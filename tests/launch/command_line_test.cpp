// What the command line refuses before a command runs, and how it says so.
#include "launch/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "ops/base/error.h"

namespace tsugi {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class CommandLineTest : public ::testing::Test {
 protected:
  CommandLineTest() : command_line_("tsugi", "", "1") {
    Command train = command_line_.root().subcommand("pretrain", "");
    train.option("--real", real_, "");
    train.option("--share", share_, "").range(0.0, 1.0);
    train.option("--part", part_, "").range_above(0.0, 1.0);
    train.option("--positive", optional_, "").positive();
    train.option("--top-k", int64_, "").non_negative();
    train.option("--threads", int_, "").range(0, 4096);
    train.option("--seed", seed_, "");
    train.option("--compute", word_, "").one_of({"FP32", "BF16"});
    train.option("--budget", reals_, "").take_all();
    train.option("--ids", ids_, "").separated(',');
    Command what = train.group("what", "");
    what.option("--config", text_, "");
    what.require_one();
    train.run([] { return 7; });
    Command sweep = command_line_.root().subcommand("sweep", "");
    sweep.require_subcommand();
    sweep.subcommand("status", "").run([] { return 8; });
    sweep.subcommand("report", "").run([] { return 9; });
  }

  /// What it says on standard error of what it refuses; "" when the command ran.
  std::string said(std::vector<std::string> arguments) {
    ::testing::internal::CaptureStderr();
    const int code = command_line_.run(std::move(arguments));
    std::string text = ::testing::internal::GetCapturedStderr();
    EXPECT_EQ(code == static_cast<int>(ExitCode::kUsage), !text.empty()) << code << text;
    return text;
  }
  std::string with(const std::string& option, const std::string& value) {
    return said({"pretrain", "--config", "x", option, value});
  }

  CommandLine command_line_;
  double real_ = 0, share_ = 0, part_ = 0;
  std::optional<double> optional_;
  std::vector<double> reals_;
  std::vector<int32_t> ids_;
  int int_ = 0;
  int64_t int64_ = 0;
  uint64_t seed_ = 0;
  std::string text_, word_;
};

TEST_F(CommandLineTest, RefusesWhatIsNotFinite) {
  for (const char* option : {"--real", "--share", "--part", "--positive", "--budget"}) {
    for (const char* value : {"nan", "-nan", "NAN", "inf", "-inf", "1e999"}) {
      EXPECT_THAT(with(option, value),
                  HasSubstr(std::string(option) + ": must be a finite number, not " + value + "\n"));
    }
    EXPECT_THAT(with(option, "one"), HasSubstr("must be a number, not one"));
    EXPECT_THAT(with(option, "0.5"), IsEmpty());
  }
  EXPECT_THAT(said({"pretrain", "--config", "x", "--budget", "1e18", "nan"}), HasSubstr("not nan"));
  EXPECT_EQ(real_, 0.5);
}

TEST_F(CommandLineTest, RefusesIntegersThatWouldWrap) {
  EXPECT_THAT(with("--seed", "-1"), HasSubstr("--seed: must be at least 0, not -1"));
  EXPECT_THAT(with("--seed", "18446744073709551616"), HasSubstr("must be at most 18446744073709551615, not 18446"));
  EXPECT_THAT(with("--seed", "18446744073709551615"), IsEmpty());
  EXPECT_EQ(seed_, UINT64_MAX);
  EXPECT_THAT(with("--top-k", "9223372036854775808"), HasSubstr("must be at most 9223372036854775807, not 9223"));
  EXPECT_THAT(with("--ids", "1,-2147483649"), HasSubstr("must be at least -2147483648, not -2147483649"));
  EXPECT_THAT(with("--threads", "4294967297"), HasSubstr("must be at most 2147483647, not 4294967297"));
  for (const char* value : {"two", "1.5", "1e3", "3x", "nan"}) {
    EXPECT_THAT(with("--threads", value), HasSubstr(std::string("must be a whole number, not ") + value + "\n"));
  }
}

TEST_F(CommandLineTest, NamesBoundsShortly) {
  EXPECT_THAT(with("--top-k", "-1"), HasSubstr("error: pretrain: --top-k: must be at least 0, not -1\n"));
  EXPECT_THAT(with("--part", "0"), HasSubstr("--part: must be greater than 0 and at most 1, not 0\n"));
  EXPECT_THAT(with("--part", "1.01"), HasSubstr("must be greater than 0 and at most 1, not 1.01\n"));
  EXPECT_THAT(with("--part", "1"), IsEmpty());
  EXPECT_THAT(with("--share", "-0.1"), HasSubstr("must be from 0 to 1, not -0.1\n"));
  EXPECT_THAT(with("--share", "0"), IsEmpty());
  EXPECT_THAT(with("--positive", "0"), HasSubstr("must be greater than 0, not 0\n"));
  EXPECT_THAT(with("--threads", "5000"), HasSubstr("must be from 0 to 4096, not 5000\n"));
  EXPECT_THAT(with("--threads", "4096"), IsEmpty());
  EXPECT_THAT(with("--compute", "fp32"), HasSubstr("--compute: must be one of FP32, BF16, not fp32\n"));
  EXPECT_THAT(with("--compute", "BF16"), IsEmpty());
}

TEST_F(CommandLineTest, NamesUnknownWordsAndTheNearest) {
  EXPECT_THAT(said({"pretrian", "--config", "x"}),
              AllOf(HasSubstr("there is no command \"pretrian\""), HasSubstr("did you mean pretrain?")));
  EXPECT_THAT(said({"zebra"}), AllOf(HasSubstr("there is no command \"zebra\""), HasSubstr("`tsugi --help`"),
                                     Not(HasSubstr("did you mean"))));
  EXPECT_THAT(said({"sweep", "stauts"}), AllOf(HasSubstr("sweep has no command \"stauts\""),
                                               HasSubstr("did you mean status? `tsugi sweep --help`")));
  EXPECT_THAT(said({"sweep"}), HasSubstr("sweep: a command is missing\n"));
  // Before what is missing for want of it, also of a group and with its value.
  EXPECT_THAT(said({"pretrain", "--confg", "x"}),
              AllOf(HasSubstr("error: pretrain has no option --confg\n"), HasSubstr("did you mean --config?")));
  EXPECT_THAT(said({"pretrain", "--thread=2"}),
              AllOf(HasSubstr("has no option --thread\n"), HasSubstr("did you mean --threads?")));
  EXPECT_THAT(said({"sweep", "report", "one"}), HasSubstr("sweep report does not take the word \"one\""));
}

TEST_F(CommandLineTest, RunsTheCommand) {
  EXPECT_EQ(command_line_.run({"pretrain", "--config", "x", "--ids", "1,2", "--budget", "1e18", "2e18"}), 7);
  EXPECT_THAT(ids_, ::testing::ElementsAre(1, 2));
  EXPECT_THAT(reals_, ::testing::ElementsAre(1e18, 2e18));
  EXPECT_EQ(command_line_.run({"sweep", "status"}), 8);
}

}  // namespace
}  // namespace tsugi
