// Conditions on rows: "loss < 4 and ratio <= 150 and name != 'rerun'". Comparisons joined by `and`; nothing else, so
// that an expression from anywhere is safe to evaluate.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace tsugi {

/// One side of a comparison, or the value of a name in a row.
struct WhereValue {
  bool is_number = false;
  double number = 0.0;
  std::string text;
};

class Where {
 public:
  /// Grammar: COMPARISON {and COMPARISON}; COMPARISON: OPERAND OPERATOR OPERAND; OPERATOR: < <= > >= == = !=.
  /// An operand is a number, a name (letters, digits, _ . / -; any other in double or single quotes on the left side),
  /// or on the right side a text in quotes. Throws Error(kUsage) naming the place. An empty expression is true.
  explicit Where(std::string_view expression);

  /// Names that the expression uses, in order.
  std::vector<std::string> names() const;

  /// Truth for one row; `lookup` gives the value of a name. Comparisons with NaN are false; texts can only be compared
  /// for equality, anything else is an Error(kUsage).
  bool holds(const std::function<WhereValue(const std::string&)>& lookup) const;

 private:
  struct Operand {
    enum class Kind { kNumber, kName, kText } kind = Kind::kNumber;
    double number = 0.0;
    std::string text;
  };
  enum class Operator { kLess, kLessEqual, kGreater, kGreaterEqual, kEqual, kNotEqual };
  struct Comparison {
    Operand left;
    Operator op = Operator::kLess;
    Operand right;
  };
  std::string expression_;
  std::vector<Comparison> comparisons_;
};

}  // namespace tsugi
