"""Uses the client of openapi-python-client against a real server."""

import sys
from uuid import UUID

from portcullis_client import AuthenticatedClient, Client
from portcullis_client.api.account import get_me, get_password_policy, list_activity, register_user
from portcullis_client.api.discovery import get_jwks
from portcullis_client.api.operation import get_health, get_readiness
from portcullis_client.api.session import end_session, get_token_claims, list_sessions, login, logout, refresh_tokens
from portcullis_client.models import (
    ActivityResponse,
    EcJwk,
    LoginRequest,
    LogoutRequest,
    LogoutScope,
    Problem,
    RefreshRequest,
    RegisterRequest,
    TokenSet,
    User,
)
from portcullis_client.types import UNSET, Unset

URL = sys.argv[1]
NAME, PASSWORD = "openapi-python-client", "Corr3ct-horse battery"


def code_of(answer: object) -> str:
    """Returns the code of a problem."""
    assert isinstance(answer, Problem), answer
    return answer.code


anonymous = Client(base_url=URL, raise_on_unexpected_status=True)
user = register_user.sync(client=anonymous, body=RegisterRequest(username=NAME, password=PASSWORD))
assert isinstance(user, User), user

taken = register_user.sync_detailed(client=anonymous, body=RegisterRequest(username=NAME, password=PASSWORD))
assert (taken.status_code, code_of(taken.parsed)) == (409, "username_taken")

weak = register_user.sync(client=anonymous, body=RegisterRequest(username="another", password="short"))
assert isinstance(weak, Problem) and not isinstance(weak.errors, Unset)
assert ("#/password", "too_short") in {(error.pointer, error.code) for error in weak.errors}

wrong = login.sync(client=anonymous, body=LoginRequest(username=NAME, password="Wr0ng-password"))
assert code_of(wrong) == "invalid_credentials"

tokens = login.sync(client=anonymous, body=LoginRequest(username=NAME, password=PASSWORD))
assert isinstance(tokens, TokenSet) and isinstance(tokens.session_id, UUID), tokens

client = AuthenticatedClient(base_url=URL, token=tokens.access_token, raise_on_unexpected_status=True)
me = get_me.sync(client=client)
assert isinstance(me, User) and me == user
claims = get_token_claims.sync(client=client)
assert claims is not None and not isinstance(claims, Problem) and claims.session_id == tokens.session_id
sessions = list_sessions.sync(client=client)
assert sessions is not None and not isinstance(sessions, Problem) and sessions.sessions[0].current
activity = list_activity.sync(client=client, limit=1)
assert isinstance(activity, ActivityResponse) and activity.events[0].detail is None
assert isinstance(activity.next_cursor, str)
policy = get_password_policy.sync(client=client)
assert policy is not None and not isinstance(policy, Problem) and policy.min_length >= 8

# With the token of the client, which these routes ignore.
following = refresh_tokens.sync(client=client, body=RefreshRequest(refresh_token=tokens.refresh_token))
assert isinstance(following, TokenSet), following
client = AuthenticatedClient(base_url=URL, token=following.access_token, raise_on_unexpected_status=True)
assert code_of(end_session.sync(id=UUID(int=1), client=client)) == "not_found"

# Both tokens of the session.
done = logout.sync_detailed(client=client, body=LogoutRequest(refresh_token=following.refresh_token))
assert done.status_code == 204, done
assert code_of(get_me.sync(client=client)) == "invalid_token"
over = refresh_tokens.sync(client=client, body=RefreshRequest(refresh_token=following.refresh_token))
assert code_of(over) == "invalid_refresh_token"

again = login.sync(client=client, body=LoginRequest(username=NAME, password=PASSWORD))
assert isinstance(again, TokenSet)
client = AuthenticatedClient(base_url=URL, token=again.access_token, raise_on_unexpected_status=True)
assert logout.sync_detailed(client=client, body=UNSET, scope=LogoutScope.ALL).status_code == 204

health = get_health.sync(client=client)
assert health is not None and not isinstance(health, Problem) and health.status == "ok"
ready = get_readiness.sync(client=anonymous)
assert ready is not None and not isinstance(ready, Problem) and ready.checks.database == "ok"
keys = get_jwks.sync(client=anonymous)
assert keys is not None and not isinstance(keys, Problem)
assert all(len(key.y if isinstance(key, EcJwk) else key.x) == 43 for key in keys.keys)

# Words of a later version.
later = {
    "type": "/problems/from_the_future",
    "title": "A problem of a later version",
    "status": 409,
    "detail": "",
    "code": "from_the_future",
    "request_id": "r",
    "errors": [{"pointer": "#", "code": "from_the_future", "message": "is new"}],
    "member_of_the_future": 1,
}
assert Problem.from_dict(later).to_dict() == later
print("openapi-python-client: register, login, me, refresh, logout and their errors work")
