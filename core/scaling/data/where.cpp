#include "core/scaling/data/where.h"

#include <cctype>
#include <charconv>

#include "ops/base/error.h"

namespace tsugi {
namespace {

struct Token {
  enum class Kind { kWord, kQuoted, kOperator, kEnd } kind = Kind::kEnd;
  std::string text;
  size_t place = 0;
};

class WhereScanner {
 public:
  explicit WhereScanner(std::string_view text) : text_(text) {}

  Token next() {
    while (next_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[next_])) != 0) ++next_;
    const size_t begin = next_;
    if (begin == text_.size()) return {Token::Kind::kEnd, "", begin};
    const char c = text_[begin];
    if (c == '"' || c == '\'') {
      const size_t end = text_.find(c, begin + 1);
      if (end == std::string_view::npos) fail("a quote does not close", begin);
      next_ = end + 1;
      return {Token::Kind::kQuoted, std::string(text_.substr(begin + 1, end - begin - 1)), begin};
    }
    if (c == '<' || c == '>' || c == '=' || c == '!') {
      ++next_;
      if (next_ < text_.size() && text_[next_] == '=') ++next_;
      const std::string op(text_.substr(begin, next_ - begin));
      if (op == "!") fail("expected a comparison, not !", begin);
      return {Token::Kind::kOperator, op, begin};
    }
    while (next_ < text_.size() && is_word(text_[next_])) ++next_;
    if (next_ == begin) fail(std::string("unexpected character '") + c + "'", begin);
    return {Token::Kind::kWord, std::string(text_.substr(begin, next_ - begin)), begin};
  }

  [[noreturn]] void fail(const std::string& reason, size_t place) const {
    throw Error(ExitCode::kUsage,
                "condition \"" + std::string(text_) + "\": character " + std::to_string(place + 1) + ": " + reason,
                "comparisons joined by and: \"loss < 4 and d >= 1e9\"; < <= > >= == !=");
  }

 private:
  static bool is_word(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.' || c == '/' || c == '-' ||
           c == '+' || static_cast<unsigned char>(c) >= 0x80;
  }
  std::string_view text_;
  size_t next_ = 0;
};

bool as_number(const std::string& text, double& value) {
  const char* begin = text.data() + (text.starts_with('+') ? 1 : 0);
  const auto [end, error] = std::from_chars(begin, text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value == value;
}

template <class T>
bool compare(const T& left, int op, const T& right) {
  switch (op) {
    case 0:
      return left < right;
    case 1:
      return left <= right;
    case 2:
      return left > right;
    case 3:
      return left >= right;
    case 4:
      return left == right;
    default:
      return left != right;
  }
}

}  // namespace

Where::Where(std::string_view expression) : expression_(expression) {
  WhereScanner scanner(expression);
  Token token = scanner.next();
  if (token.kind == Token::Kind::kEnd) return;
  while (true) {
    Comparison comparison;
    const auto operand = [&](bool left) {
      Operand result;
      if (token.kind == Token::Kind::kQuoted) {
        result.kind = left ? Operand::Kind::kName : Operand::Kind::kText;
      } else if (token.kind == Token::Kind::kWord) {
        result.kind = as_number(token.text, result.number) ? Operand::Kind::kNumber : Operand::Kind::kName;
      } else {
        scanner.fail(token.kind == Token::Kind::kEnd ? "ends where a name or number should stand"
                                                     : "expected a name or number, not " + token.text,
                     token.place);
      }
      result.text = token.text;
      token = scanner.next();
      return result;
    };
    comparison.left = operand(true);
    if (token.kind != Token::Kind::kOperator) scanner.fail("expected < <= > >= == or !=", token.place);
    if (token.text == "<") comparison.op = Operator::kLess;
    if (token.text == "<=") comparison.op = Operator::kLessEqual;
    if (token.text == ">") comparison.op = Operator::kGreater;
    if (token.text == ">=") comparison.op = Operator::kGreaterEqual;
    if (token.text == "==" || token.text == "=") comparison.op = Operator::kEqual;
    if (token.text == "!=") comparison.op = Operator::kNotEqual;
    token = scanner.next();
    comparison.right = operand(false);
    comparisons_.push_back(std::move(comparison));
    if (token.kind == Token::Kind::kEnd) return;
    const bool joined = token.kind == Token::Kind::kWord && (token.text == "and" || token.text == "AND");
    if (!joined) scanner.fail("expected and, not " + token.text, token.place);
    token = scanner.next();
  }
}

std::vector<std::string> Where::names() const {
  std::vector<std::string> result;
  for (const Comparison& one : comparisons_) {
    if (one.left.kind == Operand::Kind::kName) result.push_back(one.left.text);
    if (one.right.kind == Operand::Kind::kName) result.push_back(one.right.text);
  }
  return result;
}

bool Where::holds(const std::function<WhereValue(const std::string&)>& lookup) const {
  const auto value = [&](const Operand& operand) -> WhereValue {
    if (operand.kind == Operand::Kind::kName) return lookup(operand.text);
    return {operand.kind == Operand::Kind::kNumber, operand.number, operand.text};
  };
  for (const Comparison& one : comparisons_) {
    const WhereValue left = value(one.left);
    const WhereValue right = value(one.right);
    const int op = static_cast<int>(one.op);
    if (left.is_number && right.is_number) {
      const bool known = left.number == left.number && right.number == right.number;
      if (!known || !compare(left.number, op, right.number)) return false;
      continue;
    }
    if (one.op != Operator::kEqual && one.op != Operator::kNotEqual) {
      throw Error(ExitCode::kUsage, "condition \"" + expression_ + "\": \"" + left.text + "\" and \"" + right.text +
                                        "\" are not both numbers and can only be compared by == and !=");
    }
    if (!compare(left.text, op, right.text)) return false;
  }
  return true;
}

}  // namespace tsugi
