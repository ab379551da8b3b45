"""What ``make bench-spend`` compares with: a loop that calls a paid service and keeps each answer after the call."""

import base64
import json
import sys
from pathlib import Path

import httpx

from tests.services.paid_service import API_KEY


def main() -> None:
    """Arguments: the service's address, a folder for the answers, photographs."""
    url, cache, *photos = sys.argv[1:]
    headers = {"Authorization": f"Bearer {API_KEY}"}
    for photo in map(Path, photos):
        kept = Path(cache) / photo.name
        if kept.exists():
            continue
        wish = {"prompt": "in a bright studio", "image": base64.b64encode(photo.read_bytes()).decode()}
        answer = httpx.post(f"{url}/v1/images", content=json.dumps(wish), headers=headers, trust_env=False)
        kept.write_bytes(base64.b64decode(answer.raise_for_status().json()["data"][0]["image"]))


if __name__ == "__main__":
    main()
