"""An image server of your own, guarded from within: `uvicorn --no-proxy-headers fastapi_app:app`.

Meltguard's operator pushes limits to the control address, users talk to uvicorn.
"""

import asyncio
import os

from fastapi import FastAPI, Response
from pydantic import BaseModel

from meltguard.agent.embedded import Guard
from meltguard.agent.settings import Address, AgentSettings, Callers, PolicyKey
from meltguard.api.signed import PublicKeys
from meltguard.core.units import Gpus, PodUid

guard = Guard(
    AgentSettings(
        policy=PolicyKey.parse(os.environ["MELTGUARD_POLICY"]),
        pod_uid=PodUid(os.environ["POD_UID"]),
        keys=PublicKeys.parse(os.environ["MELTGUARD_PUBLIC_KEYS"]),
        listen=Address("0.0.0.0", 8080),  # uvicorn's; the agent listens on the other one
        control=Address.parse(os.environ.get("MELTGUARD_CONTROL", "0.0.0.0:9901")),
        gpus=Gpus(1),
        callers=Callers(trust_gateway=True),
    )
)
app = FastAPI(lifespan=guard.lifespan)
app.add_middleware(guard.middleware)


class Wanted(BaseModel):
    """What a client asks for."""

    prompt: str
    n: int = 1


@app.post("/v1/images")
async def images(wanted: Wanted) -> Response:
    """Make images. Your model goes here; a GPU is free for it when this is called."""
    await asyncio.sleep(0.05 * wanted.n)
    return Response(b"image", media_type="image/png")
