"""What schemathesis cannot know of Portcullis: who the users are, and which refusals the description cannot express."""

import itertools
import os
import re
import unicodedata

import requests
import schemathesis

SERVER = os.environ["PORTCULLIS_URL"]
LIMITED = os.environ["PORTCULLIS_LIMITS"] == "on"
PASSWORD = "Corr3ct-horse battery"
NUMBERS = itertools.count(1)


class User:
    """Somebody registered and logged in, whom a test may delete."""

    def __init__(self):
        self.name = f"tester-{next(NUMBERS)}-{os.getpid()}"
        self.password = PASSWORD
        self.post("/register", 201)
        tokens = self.post("/login", 200)
        self.access, self.refresh, self.session = (
            tokens[name] for name in ("access_token", "refresh_token", "session_id")
        )

    def post(self, path, status):
        """Asks from an address of its own: where there are limits, the tests must not use up ours, nor we theirs."""
        number = next(NUMBERS)
        address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        body = {"username": self.name, "password": self.password}
        answer = requests.post(SERVER + path, json=body, headers={"X-Forwarded-For": address}, timeout=30)
        assert answer.status_code == status, answer.text
        return answer.json()


class Users:
    """The user whose token the tests send: another one as soon as that token is good for nothing."""

    current = None
    by_token = {}

    @classmethod
    def one(cls):
        if cls.current is None:
            cls.current = User()
            cls.by_token[cls.current.access] = cls.current
        return cls.current

    @classmethod
    def of(cls, request):
        """Whose token a request has."""
        token = (request.headers or {}).get("Authorization", "")
        return cls.by_token.get(str(token).removeprefix("Bearer "))


def takes_tokens(context):
    """Whether the description says so: where it forgets to, no token is sent, and the operation never succeeds."""
    return bool(context.operation.definition.raw.get("security"))


@schemathesis.auth(refresh_interval=None).apply_to(takes_tokens)
class AccessToken:
    def get(self, case, context):
        return Users.one().access

    def set(self, case, token, context):
        case.headers["Authorization"] = f"Bearer {token}"


TURNS = {}


@schemathesis.hook
def before_call(context, case, kwargs):
    """Gives every third valid request what no generator can guess: a secret or an id that is known here."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    label = case.operation.label
    TURNS[label] = TURNS.get(label, 0) + 1
    if TURNS[label] % 3 != 1:
        return
    user = Users.of(case) or Users.one()
    match label:
        case "POST /register":
            # A letter of each case, a digit and another: most of what `GET /password-policy` asks for.
            case.body["password"] = "Aa1-" + case.body["password"][:252]
        case "POST /login":
            case.body = {"username": user.name, "password": user.password}
        case "POST /refresh":
            case.body["refresh_token"] = user.refresh
        case "POST /logout":
            if isinstance(case.body, dict) and "refresh_token" in case.body:
                case.body["refresh_token"] = user.refresh
        case "PUT /me/password":
            case.body["current_password"] = user.password
            case.body["new_password"] = "Aa1-" + case.body["new_password"][:252]
        case "DELETE /me" | "POST /me/delete":
            case.body["current_password"] = user.password
        case "DELETE /me/sessions/{id}":
            case.path_parameters["id"] = user.session
        case "GET /me/activity":
            if "cursor" in (case.query or {}) and Cursors.last:
                case.query["cursor"] = Cursors.last


class Cursors:
    last = None


@schemathesis.hook
def after_call(context, case, response):
    label = case.operation.label
    ended = label in {"POST /logout", "PUT /me/password", "DELETE /me", "POST /me/delete", "DELETE /me/sessions/{id}"}
    if response.status_code == 401 or (ended and response.status_code < 300):
        Users.current = None
    if label == "GET /me/activity" and response.status_code == 200:
        Cursors.last = response.json()["next_cursor"] or Cursors.last


NEW_PASSWORD = {
    # These are settings, which `GET /password-policy` shows; a description is the same for every server.
    "missing_upper", "missing_lower", "missing_digit", "missing_special", "common",
    # A pattern cannot say that one field is not part of another.
    "contains_username",
}  # fmt: skip

REFUSED_THOUGH_VALID = {
    # Too many words to list them in a pattern.
    ("POST /register", "#/username"): {"reserved"},
    ("POST /register", "#/password"): NEW_PASSWORD,
    # Nor that it differs from another.
    ("PUT /me/password", "#/new_password"): NEW_PASSWORD | {"unchanged"},
    # Who it is that knows the password is not for a schema to say.
    ("PUT /me/password", "#/current_password"): {"incorrect"},
    ("DELETE /me", "#/current_password"): {"incorrect"},
    ("POST /me/delete", "#/current_password"): {"incorrect"},
    # Opaque to clients, so the description has no pattern for it.
    ("GET /me/activity", "#/cursor"): {"wrong_type"},
}


def lies_in_its_nature(error, case):
    """Whether a reason for which a valid request was refused is none that a schema could give."""
    field = error["pointer"].removeprefix("#/")
    if error["code"] in {"too_short", "too_long"} and field.endswith("password"):
        # JSON Schema counts what was sent, the server what it is in Unicode NFC.
        sent = case.body[field]
        return len(unicodedata.normalize("NFC", sent)) != len(sent)
    return error["code"] in REFUSED_THOUGH_VALID.get((case.operation.label, error["pointer"]), ())


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Accepts, of what a check says against an answer, what lies in the nature of the operation."""
    match type(failure).__name__:
        case "RejectedPositiveData":
            errors = response.json()["errors"] if response.status_code == 422 else []
            return not (errors and all(lies_in_its_nature(error, case) for error in errors))
        case "MissingHeaderNotRejected":
            # Calls are counted before anybody looks at their tokens, or tokens could be guessed without a limit.
            return not (response.status_code == 429 and LIMITED)
        case _:
            return True


@schemathesis.check
def problem_is_documented(ctx, response, case):
    """A problem is about its own answer, and its code is among those that the description lists for this status."""
    if not response.headers.get("content-type", [""])[0].startswith("application/problem+json"):
        return
    problem = response.json()
    assert problem["status"] == response.status_code
    assert problem["type"] == f"/problems/{problem['code']}"
    assert problem["request_id"] == response.headers["x-request-id"][0]
    assert ("errors" in problem) == (response.status_code == 422)
    documented = case.operation.definition.raw["responses"].get(str(response.status_code))
    if documented is not None:
        assert f"`{problem['code']}`: " in documented["description"], f"{problem['code']} is not documented here"


@schemathesis.check
def limits_are_told(ctx, response, case):
    """The routes whose description has the fields of a limit carry them where there are limits, and nowhere else."""
    if response.status_code == 405:
        return
    documented = case.operation.definition.raw["responses"].get(str(response.status_code), {}).get("headers", {})
    for name, pattern in {"RateLimit": r'"[a-z]+";r=\d+;t=\d+', "RateLimit-Policy": r'"[a-z]+";q=\d+;w=\d+'}.items():
        found = response.headers.get(name.lower(), [])
        assert bool(found) == (LIMITED and name in documented), f"{name}: {found}"
        assert all(re.fullmatch(pattern, part.strip()) for field in found for part in field.split(",")), found


@schemathesis.check
class every_operation_succeeds:
    """Answers that are all refusals prove little: each operation succeeds at least once in a run."""

    def __init__(self):
        self.called, self.succeeded = set(), set()

    def after_response(self, ctx, response, case):
        self.called.add(case.operation.label)
        if response.status_code < 300:
            self.succeeded.add(case.operation.label)

    def after_run(self, ctx):
        assert self.called == self.succeeded, f"never succeeded: {sorted(self.called - self.succeeded)}"
