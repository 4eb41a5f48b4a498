

# The end of every script: answers requests with its SCOPES.
class Unsupported(Exception):
    """A type that the engine does not have."""


print("ready", flush=True)
for line in sys.stdin:
    kind, scope, number = line.split()
    try:
        answer = repr(SCOPES[scope](kind, int(number)))
    except Unsupported as error:
        answer = str(error)
    except Exception as error:
        answer = f"{type(error).__name__}: {error}".replace("\n", " ")
    print(answer, flush=True)
