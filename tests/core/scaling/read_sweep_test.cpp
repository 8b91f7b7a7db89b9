#include "core/scaling/data/read_sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/scaling/data/where.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;

SweepTable read_rows(const std::string& text, const SweepColumns& columns = {}) {
  return read_sweep(parse_csv(text, "runs.csv"), columns);
}

/// What and hint of the refusal.
std::string row_refusal(const std::string& text, const SweepColumns& columns = {}) {
  try {
    read_rows(text, columns);
  } catch (const Error& error) {
    return std::string(error.what()).append(" | ").append(error.hint());
  }
  return "read";
}

SweepColumns with_columns(const std::string& columns) {
  SweepColumns result;
  result.columns = columns;
  return result;
}

TEST(ReadSweep, BindsRolesUnitsAndNames) {
  const SweepTable table = read_rows("id,\"Model, size\",Tokens (B),final\nx,1e8,2.5,3.1\ny,2e8,5,2.9\n",
                                     with_columns("name=id,\"n=Model, size\",d=Tokens (B)*1e9,loss=final"));
  ASSERT_EQ(table.runs.runs.size(), 2u);
  const SweepRun& run = table.runs.runs[1];
  EXPECT_EQ(run.name, "y");
  EXPECT_DOUBLE_EQ(run.n, 2e8);
  EXPECT_DOUBLE_EQ(run.d, 5e9);
  EXPECT_DOUBLE_EQ(run.c, 6e18);
  EXPECT_THAT(table.runs.notes, Contains("c is not in the table: c = 6 n d"));
}

TEST(ReadSweep, CompletesTheThirdOfNAndDAndC) {
  const SweepTable table = read_rows("c,n,loss\n6e18,1e8,3\n6e19,1e9,2\n");
  EXPECT_DOUBLE_EQ(table.runs.runs[0].d, 1e10);
}

TEST(ReadSweep, ConditionsChooseHoldOutAndFilter) {
  SweepColumns columns;
  columns.where = "loss < 4 and kind != 'bad'";
  columns.hold_out = "c > 1e20";
  columns.filter = "ratio >= 10";
  const SweepTable table = read_rows(
      "n,d,loss,kind\n1e8,1e10,3,ok\n1e8,1e10,nan,ok\n1e8,1e10,5,ok\n1e8,1e10,3,bad\n1e9,1e9,3,ok\n1e9,1e11,2,ok\n",
      columns);
  ASSERT_EQ(table.runs.runs.size(), 2u);
  EXPECT_FALSE(table.runs.runs[0].held_out);
  EXPECT_TRUE(table.runs.runs[1].held_out);
  ASSERT_EQ(table.filtered_out.size(), 1u);
  EXPECT_DOUBLE_EQ(table.filtered_out[0].n, 1e9);
}

TEST(ReadSweep, RefusesMissingColumnsAndValues) {
  EXPECT_THAT(row_refusal("n,d,final\n1e8,1e9,3\n"), HasSubstr("which column is the loss?"));
  EXPECT_THAT(row_refusal("n,d,loss\n1e8,1e9,3\n", with_columns("n=params")), HasSubstr("no column \"params\""));
  EXPECT_THAT(row_refusal("n,d,loss\n1e8,1e9,3\n", with_columns("q=n")), HasSubstr("no role \"q\""));
  EXPECT_THAT(row_refusal("n,d,loss\n1e8,1e9,3\n", with_columns("n")), HasSubstr("not ROLE=COLUMN"));
  EXPECT_THAT(row_refusal("n,d,loss\n1e8,1e9,3\n", with_columns("n=d*x")), HasSubstr("positive number"));
  EXPECT_THAT(row_refusal("n,d,loss\n1e8,1e9,3\n1e8,2e9,nan\n"), HasSubstr("line 3: column loss: \"nan\""));
  EXPECT_THAT(row_refusal("n,d,loss\n1e8,1e9,3\n1e8,2e9,nan\n"), HasSubstr("--where \"loss < 100\""));
  EXPECT_THAT(row_refusal("n,d,loss\n1e8,1e9,3\n1e8,,3\n"), HasSubstr("line 3: column d: empty"));
  EXPECT_THAT(row_refusal("n,d,loss\n1e8,1e9,3\n1e8,7B,3\n"), HasSubstr("\"7B\" is not a finite number"));
  EXPECT_THAT(row_refusal("n,d,loss\n1e8,1e9,3\n1e8,1e9,-3\n"), HasSubstr("loss is -3"));
  EXPECT_THAT(row_refusal("n,d,loss\n1e8,1e9,inf\n"), HasSubstr("line 2: column loss"));
  SweepColumns none;
  none.where = "loss > 100";
  EXPECT_THAT(row_refusal("n,d,loss\n1e8,1e9,3\n", none), HasSubstr("no row satisfies"));
  none.where = "lss > 100";
  EXPECT_THAT(row_refusal("n,d,loss\n1e8,1e9,3\n", none), HasSubstr("did you mean \"loss\"?"));
}

TEST(ReadSweep, RefusesAFilterThatLeavesNothing) {
  SweepColumns columns;
  columns.filter = "n > 1e12";
  EXPECT_THAT(row_refusal("n,d,loss\n1e8,1e9,3\n1e9,1e9,2\n", columns),
              HasSubstr("no row satisfies --filter \"n > 1e12\""));
}

TEST(ReadSweep, NotesWhatIsHardlyMeant) {
  const auto notes = [](const std::string& text) {
    std::string all;
    for (const std::string& note : read_rows(text).runs.notes) all += note + "\n";
    return all;
  };
  EXPECT_THAT(notes("n,d,loss\n1e8,1e9,25\n2e8,1e9,20\n"), HasSubstr("is it a perplexity?"));
  EXPECT_THAT(notes("n,d,loss\n1e9,1e8,3\n2e9,1e8,2.9\n"), HasSubstr("the other way round"));
  const std::string fine = notes("n,d,loss\n1e8,1e9,3\n2e8,1e9,2.9\n");
  for (const char* word : {"perplexity", "round"}) EXPECT_THAT(fine, ::testing::Not(HasSubstr(word)));
  EXPECT_THAT(row_refusal("Params,Tokens,Loss\n1e8,1e9,3\n"), HasSubstr("There are: Params, Tokens, Loss"));
  EXPECT_THAT(row_refusal("n,d,loss,status\n1e8,1e9,,diverged\n2e8,1e9,3,done\n"),
              HasSubstr("or by the column status"));
  EXPECT_THAT(row_refusal("n,d,loss\n7B,1e9,3\n"), HasSubstr("n=COLUMN*1e9"));
}

TEST(ReadSweep, SeesUnits) {
  EXPECT_THAT(row_refusal("n,d,loss\n0.1,1e10,3\n7,1e11,2\n"), HasSubstr("n=COLUMN*1e9 if it counts billions"));
  EXPECT_THAT(row_refusal("n,d,loss\n1e8,2,3\n1e9,20,2\n"), HasSubstr("d=COLUMN*1e9"));
  EXPECT_THAT(row_refusal("n,c,loss\n1e8,0.1,3\n1e9,20,2\n"), HasSubstr("c=COLUMN*8.64e19 if it counts PF-days"));
  EXPECT_THAT(row_refusal("n,d,c,loss\n1e8,1e10,6e9,3\n1e9,1e10,6e10,2\n"), HasSubstr("times 6 n d"));
  EXPECT_EQ(row_refusal("n,d,loss\n0.1,1e10,3\n7,1e11,2\n", with_columns("n=n*1e9,d=d,loss=loss")), "read");
  EXPECT_EQ(row_refusal("n,d,loss\n0.1,1e10,3\n7,1e11,2\n", with_columns("n=n*1,d=d,loss=loss")), "read");
  const SweepTable far = read_rows("n,d,c,loss\n1e8,1e10,3e19,3\n1e9,1e10,3e20,2\n");
  EXPECT_THAT(far.runs.notes, Contains(HasSubstr("c is 5 times 6 n d")));
}

// Some rows in another unit than the rest are named, with the unit and what to do.
TEST(ReadSweep, NamesRowsInOtherUnits) {
  const std::string head = "name,n,d,loss\n";
  const std::string plain = "a,2e8,4e9,3.2\nb,4e8,8e9,3\nc,1e9,2e10,2.8\nd,2e9,4e10,2.7\n";
  EXPECT_EQ(row_refusal(head + plain), "read");
  // Millions of parameters in two rows, billions of tokens in one, both in one, and nothing but n.
  EXPECT_THAT(row_refusal(head + plain + "e,70,1.4e9,3.5\nf,410,8e9,3\n"),
              AllOf(HasSubstr("n jumps from 410 to 2e+08"), HasSubstr("2 of 6 rows (e, f)"),
                    HasSubstr("millions (1e6)"), HasSubstr("write all rows in one unit")));
  EXPECT_THAT(row_refusal(head + plain + "e,1e9,20,2.8\n"),
              AllOf(HasSubstr("d jumps from 20"), HasSubstr("1 of 5 rows (e)"), HasSubstr("billions (1e9)")));
  EXPECT_THAT(row_refusal(head + plain + "e,70,1.4,3.5\n"), HasSubstr("1 of 5 rows (e)"));
  EXPECT_THAT(row_refusal("n,loss\n7,3\n7e9,2.5\n8e9,2.4\n"), HasSubstr("1 of 3 rows (line 2)"));
  // No gap in any column, but c, n and d of two rows do not go together.
  const std::string of_c = "n,d,c,loss\n2e8,4e9,5e18,3.2\n4e8,8e9,2e19,3\n4e5,8e9,2e19,3\n3e7,2e10,4e18,2.8\n";
  EXPECT_THAT(row_refusal(of_c), AllOf(HasSubstr("1 of 4 (line 4)"), HasSubstr("thousands (1e3)")));
  // What a user means, and what may be: runs of small models and one that is 4,000 times as large.
  EXPECT_EQ(row_refusal(head + plain + "e,70,1.4e9,3.5\n", with_columns("name=name,n=n*1,d=d,loss=loss")), "read");
  const SweepTable far = read_rows(head + "a,1e6,2e7,4\nb,2e6,4e7,3.8\nc,8e9,1.6e11,2.4\n");
  EXPECT_THAT(far.runs.warnings,
              Contains(AllOf(HasSubstr("n jumps from 2e+06 to 8e+09"), HasSubstr("1 of 3 rows (c)"))));
  EXPECT_THAT(read_rows(head + plain).runs.warnings, ::testing::IsEmpty());
}

TEST(Where, Compares) {
  const auto holds = [](const std::string& expression) {
    return Where(expression).holds([](const std::string& name) -> WhereValue {
      if (name == "two") return {true, 2.0, "2"};
      if (name == "a b") return {true, 3.0, "3"};
      if (name == "nan") return {true, std::nan(""), ""};
      return {false, 0.0, "text"};
    });
  };
  for (const char* yes : {"", "two < 3", "two<=2 and two>=2", "two == 2", "two = 2.0", "two != 3", "1e-3 < two",
                          "'a b' > two", "word == 'text'", "word != \"other\"", "-1 < two AND two < +5"}) {
    EXPECT_TRUE(holds(yes)) << yes;
  }
  for (const char* no : {"two > 2", "two < 3 and two > 3", "nan < 1", "nan >= 1", "nan != 1", "word == 'other'"}) {
    EXPECT_FALSE(holds(no)) << no;
  }
  for (const char* wrong : {"two", "two <", "< 2", "two < 3 or two > 4", "two < 3 and", "two ! 3", "(two < 3)",
                            "two < 3; x", "'two", "word < 'text'"}) {
    EXPECT_THROW(holds(wrong), Error) << wrong;
  }
}

// A fit of nothing is refused with what to change, be the runs left out by the condition or not.
TEST(ReadSweep, SaysThatAllRunsDiverged) {
  SweepColumns done;
  done.where = "status == 'done'";
  const std::string all = "n,d,loss,status\n1e8,1e10,,diverged\n2e8,1e10,,diverged\n";
  for (const SweepColumns& columns : {done, SweepColumns{}}) {
    EXPECT_THAT(row_refusal(all, columns), AllOf(HasSubstr("runs.csv: all 2 runs diverged"), HasSubstr("learning rate"),
                                                 HasSubstr("clip gradients")));
  }
  done.where = "status == 'done' and n > 1e9";
  EXPECT_THAT(row_refusal(all + "3e8,1e10,3,done\n", done),
              AllOf(HasSubstr("no row satisfies"), HasSubstr("2 of 3 runs diverged")));
  done.where = "status == 'done'";
  EXPECT_EQ(row_refusal(all + "3e8,1e10,3,done\n", done), "read");
}

}  // namespace
}  // namespace tsugi
